// Arguments of the CPU and CUDA kernels that upsample class scores.

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
  int64_t num_rows, num_columns;
};

// Maps of rows x columns: the cross-entropy of every pixel, and the logarithm of the sum of the exponentials of its
// scores. Both are 0 for void.
struct PixelLosses {
  float* losses;
  float* log_sums;
};

// Pixels that have a gradient, as maps of rows x columns.
struct Chosen {
  const uint8_t* classes; // void for all others
  const float* log_sums;
  const float* weight; // gradient of the loss of each chosen pixel
  const float* factors; // map of factors of the weight; null if all are 1
};

} // namespace seamseg::fusion
