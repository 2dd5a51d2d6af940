// Kernels of the CPU operators, compiled once per instruction set and chosen at run time.

#pragma once

#include <cstdint>

#include "sampling.h"

namespace seamseg::fusion {

// Class scores, and the positions of all output rows and columns among them.
template <typename T>
struct Scores {
  const T* values; // classes x height x width
  int64_t classes, height, width;
  const Tap* rows;
  const Tap* columns;
  int64_t num_columns;
};

// A row of pixels between two rows of a mask. Each row is as wide as the window.
struct MaskRow {
  const float* upper;
  const float* lower;
  float fraction;
  int64_t num;
};

struct Areas {
  int64_t all = 0;
  int64_t free = 0;
};

struct MaskKernels {
  // Assigns the free pixels of a mask to an object and counts the mask's pixels and its free pixels.
  void (*place)(MaskRow row, int32_t id, int32_t* owners, Areas& areas);
  void (*paste)(MaskRow row, bool* pixels);
};

// Writes rows begin ... end - 1 of a class map. `classes` points to the start of the map.
template <typename T>
using ClassRows = void (*)(const Scores<T>& scores, int64_t begin, int64_t end, int64_t* classes);

// One namespace per instruction set. The x86 ones exist only on x86.
namespace baseline {
MaskKernels mask_kernels();
template <typename T>
ClassRows<T> class_rows();
} // namespace baseline
namespace avx2 {
MaskKernels mask_kernels();
template <typename T>
ClassRows<T> class_rows();
} // namespace avx2
namespace avx512 {
MaskKernels mask_kernels();
template <typename T>
ClassRows<T> class_rows();
} // namespace avx512

} // namespace seamseg::fusion
