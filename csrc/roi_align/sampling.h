// Positions of the samples of a region, shared by the CPU and CUDA kernels.

#pragma once

#include <cstdint>

#include "../host_device.h"

namespace seamseg::roi_align {

// The two pixels next to a sample along one axis, and their weights. Both weights of a sample outside the level are 0.
struct Tap {
  int32_t low;
  int32_t high;
  float low_weight;
  float high_weight;

  SEAMSEG_HOST_DEVICE bool is_inside() const { return low_weight != 0 || high_weight != 0; }
};

// The rules of torchvision's roi_align: samples up to one pixel outside read the outermost pixels, all others are 0.
SEAMSEG_HOST_DEVICE inline Tap tap_at(float position, int64_t num) {
  const auto last = static_cast<int32_t>(num - 1);
  if (!(position >= -1 && position <= static_cast<float>(num))) { // also NaN
    const int32_t nearest = position > 0 ? last : 0;
    return {nearest, nearest, 0, 0};
  }
  const float inside = position > 0 ? position : 0;
  const auto low = static_cast<int32_t>(inside);
  if (low >= last) {
    return {last, last, 1, 0};
  }
  const float fraction = inside - static_cast<float>(low);
  return {low, low + 1, 1 - fraction, fraction};
}

// Rounds a product before it is added. If nvcc fused both, positions could be on another side of an edge than on the
// CPU.
SEAMSEG_HOST_DEVICE inline float rounded_product(float x, float y) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(x, y);
#else
  return x * y;
#endif
}

// Returns the tap at the center of one of `num_bins` equal bins between two edges, on an axis of `num` pixels.
SEAMSEG_HOST_DEVICE inline Tap bin_tap(float low, float high, int64_t bin, int64_t num_bins, int64_t num) {
  const float start = low - 0.5f; // from pixel edges to centers
  const float size = ((high - 0.5f) - start) / static_cast<float>(num_bins);
  return tap_at(start + rounded_product(static_cast<float>(bin), size) + rounded_product(0.5f, size), num);
}

} // namespace seamseg::roi_align
