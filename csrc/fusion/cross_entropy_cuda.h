// CUDA kernels of the cross-entropy of upsampled scores and its gradient, and their launches. This is plain CUDA C++
// that does not depend on PyTorch, like kernels_cuda.h.
//
// The upsampled scores exist only in registers. The gradient of a score is a sum over the pixels near it, which one
// thread computes. It needs no atomic additions and therefore does not depend on the order of the threads.

#pragma once

#include <cmath>
#include <cstdint>

#include "../items_cuda.h"
#include "scores.h"

namespace seamseg::fusion::cuda {

// Number of scores per pixel along each axis.
struct Steps {
  double row, column;
};

// Writes the positions of all rows, followed by those of all columns.
__global__ void write_taps(
    Steps steps, int64_t height, int64_t width, int64_t num_rows, int64_t num_columns, Tap* taps) {
  for_items(num_rows + num_columns, [&](int64_t i) {
    taps[i] = i < num_rows ? value_tap(i, steps.row, height) : value_tap(i - num_rows, steps.column, width);
  });
}

// The scores that surround a pixel.
template <typename T>
struct Pixel {
  const T* upper; // rows of class 0
  const T* lower;
  int64_t plane; // size of a class
  Tap row, column;

  __device__ Pixel(const Scores<T>& scores, const Tap& row, const Tap& column)
      : upper(scores.values + row.before * scores.width),
        lower(scores.values + row.after * scores.width),
        plane(scores.height * scores.width),
        row(row),
        column(column) {}

  // Returns the interpolated score of a class, computed in N.
  template <typename N = float>
  __device__ N score(int64_t klass) const {
    const T* from = upper + klass * plane;
    const N fraction = column.fraction;
    const N above = blend<N>(to_float(from[column.before]), to_float(from[column.after]), fraction);
    from = lower + klass * plane;
    const N below = blend<N>(to_float(from[column.before]), to_float(from[column.after]), fraction);
    return blend<N>(above, below, row.fraction);
  }
};

// ---- forward --------------------------------------------------------------------------------------------------------

struct Loss {
  float loss, log_sum;
};

// Computes a pixel whose sum of exponentials overflows or is NaN.
template <typename T>
__device__ Loss exact_loss(const Pixel<T>& pixel, int64_t num_classes, int64_t klass) {
  const double own = pixel.template score<double>(klass);
  double highest = own;
  for (int64_t i = 0; i < num_classes; ++i) {
    const double score = pixel.template score<double>(i);
    highest = score > highest ? score : highest;
  }
  double sum = 0;
  for (int64_t i = 0; i < num_classes; ++i) {
    sum += std::exp(pixel.template score<double>(i) - highest);
  }
  const double log_sum = highest + std::log(sum);
  return {static_cast<float>(log_sum - own), static_cast<float>(log_sum)};
}

// As in the CPU kernel, subtracting the score of the pixel's class makes the sum at least 1 without a search for the
// maximum. Its logarithm is the loss.
template <typename T>
__device__ Loss loss_of(const Pixel<T>& pixel, int64_t num_classes, int64_t klass) {
  const float own = pixel.score(klass);
  float sum = 0;
  for (int64_t i = 0; i < num_classes; ++i) {
    sum += std::exp(pixel.score(i) - own);
  }
  if (sum < 0x1p100f) {
    const float loss = std::log(sum);
    return {loss, loss + own};
  }
  return exact_loss(pixel, num_classes, klass);
}

template <typename T>
__global__ void __launch_bounds__(block_threads)
    compute_losses(Scores<T> scores, const int64_t* target, PixelLosses to) {
  for_items(scores.num_rows * scores.num_columns, [&](int64_t place) {
    const int64_t klass = target[place];
    const bool is_void = klass == void_class;
    assert((is_void || (klass >= 0 && klass < scores.classes)) && "upsampled_cross_entropy: a class without logits");
    Loss loss{0, 0};
    if (!is_void) {
      const Tap row = scores.rows[place / scores.num_columns];
      const Tap column = scores.columns[place % scores.num_columns];
      loss = loss_of(Pixel<T>(scores, row, column), scores.classes, klass);
    }
    to.losses[place] = loss.loss;
    to.log_sums[place] = loss.log_sum;
  });
}

// ---- gradient -------------------------------------------------------------------------------------------------------

// Pixels first ... end - 1 along an axis.
struct Span {
  int64_t first, end;
};

// Returns the pixels that may lie next to a value. The weight of those at either end may be 0.
__device__ inline Span pixels_near(int64_t value, double step, int64_t num_values, int64_t num_pixels) {
  const auto last = static_cast<double>(num_pixels);
  const auto pixel_at = [&](int64_t position) { // inverse of value_tap()
    const double pixel = (static_cast<double>(position) + 0.5) / step - 0.5;
    return pixel > 0 ? (pixel < last ? pixel : last) : 0;
  };
  const bool is_first = value == 0;
  const bool is_last = value == num_values - 1;
  return {
      is_first ? 0 : static_cast<int64_t>(pixel_at(value - 1)),
      is_last ? num_pixels : std::min(num_pixels, static_cast<int64_t>(pixel_at(value + 1)) + 1)};
}

__device__ inline float weight_of(const Tap& tap, int64_t value) {
  return (tap.before == value ? 1 - tap.fraction : 0) + (tap.after == value ? tap.fraction : 0);
}

// Returns the gradient of one score, with the factors of the pixels but without their common weight.
template <typename T>
__device__ float sum_near(
    const Scores<T>& scores, const Chosen& chosen, const Steps& steps, int64_t klass, int64_t row, int64_t column) {
  const Span rows = pixels_near(row, steps.row, scores.height, scores.num_rows);
  const Span columns = pixels_near(column, steps.column, scores.width, scores.num_columns);
  // Pixels with weight 0 are skipped, because their scores may be infinite or NaN.
  float total = 0;
  for (int64_t y = rows.first; y < rows.end; ++y) {
    const Tap row_tap = scores.rows[y];
    const float row_weight = weight_of(row_tap, row);
    float line = 0;
    for (int64_t x = columns.first; x < columns.end && row_weight != 0; ++x) {
      const int64_t place = y * scores.num_columns + x;
      const int64_t own = chosen.classes[place];
      const Tap column_tap = scores.columns[x];
      const float weight = weight_of(column_tap, column);
      const float factor = chosen.factors == nullptr ? 1 : chosen.factors[place];
      if (own != void_class && weight != 0 && factor != 0) {
        const float exponent = Pixel<T>(scores, row_tap, column_tap).score(klass) - chosen.log_sums[place];
        const float probability = std::exp(exponent > 0 ? 0 : exponent); // large scores may be rounded up
        line += factor * weight * (probability - (own == klass ? 1 : 0));
      }
    }
    total += row_weight * line;
  }
  return total;
}

template <typename T>
__global__ void __launch_bounds__(block_threads)
    compute_gradient(Scores<T> scores, Chosen chosen, Steps steps, float* gradient) {
  for_items(scores.classes * scores.height * scores.width, [&](int64_t place) {
    const int64_t column = place % scores.width;
    const int64_t row = place / scores.width % scores.height;
    const float sum = sum_near(scores, chosen, steps, place / scores.width / scores.height, row, column);
    gradient[place] = sum == 0 ? 0 : sum * *chosen.weight;
  });
}

// ---- launches -------------------------------------------------------------------------------------------------------

// Number of positions that launch_taps() writes.
inline int64_t num_taps(int64_t num_rows, int64_t num_columns) { return num_rows + num_columns; }

// Computes the positions of the scores, to which `scores` then points.
template <typename T, typename Launch>
void launch_taps(const Launch& launch, const Steps& steps, Tap* taps, Scores<T>& scores) {
  const int64_t num = num_taps(scores.num_rows, scores.num_columns);
  launch(
      &write_taps, grid_for(num), dim3(block_threads), steps, scores.height, scores.width, scores.num_rows,
      scores.num_columns, taps);
  scores.rows = taps;
  scores.columns = taps + scores.num_rows;
}

template <typename T, typename Launch>
void launch_losses(const Launch& launch, const Scores<T>& scores, const int64_t* target, const PixelLosses& to) {
  const int64_t num = scores.num_rows * scores.num_columns;
  launch(&compute_losses<T>, grid_for(num), dim3(block_threads), scores, target, to);
}

template <typename T, typename Launch>
void launch_gradient(
    const Launch& launch, const Scores<T>& scores, const Chosen& chosen, const Steps& steps, float* gradient) {
  const int64_t num = scores.classes * scores.height * scores.width;
  launch(&compute_gradient<T>, grid_for(num), dim3(block_threads), scores, chosen, steps, gradient);
}

} // namespace seamseg::fusion::cuda
