// Kernels of the CPU operators, compiled once per instruction set and chosen at run time.

#pragma once

#include <cstdint>

#include "scores.h"

namespace seamseg::fusion {

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

template <typename T>
struct ScoreKernels {
  // Writes rows begin ... end - 1 of a class map. `classes` points to the start of the map.
  void (*class_rows)(const Scores<T>& scores, int64_t begin, int64_t end, int64_t* classes);
  // Computes rows begin ... end - 1 of the losses. Returns whether all classes are void or have scores.
  bool (*loss_rows)(const Scores<T>& scores, const int64_t* target, int64_t begin, int64_t end, PixelLosses to);
  // Adds the gradient of the scores of source rows begin ... end - 1. `gradient` points to the first of all rows.
  void (*gradient_rows)(const Scores<T>& scores, const Chosen& chosen, int64_t begin, int64_t end, float* gradient);
};

// One namespace per instruction set. The x86 ones exist only on x86.
namespace baseline {
MaskKernels mask_kernels();
template <typename T>
ScoreKernels<T> score_kernels();
} // namespace baseline
namespace avx2 {
MaskKernels mask_kernels();
template <typename T>
ScoreKernels<T> score_kernels();
} // namespace avx2
namespace avx512 {
MaskKernels mask_kernels();
template <typename T>
ScoreKernels<T> score_kernels();
} // namespace avx512

} // namespace seamseg::fusion
