// Functions shared by the CPU and CUDA kernels: positions of pixels between values, and rules for keeping segments.

#pragma once

#include <cstdint>

#include "../host_device.h"

namespace seamseg::fusion {

constexpr int64_t num_classes = 256; // number of classes that a class map can contain, including void
constexpr int64_t void_class = 255;

// The two neighbors of a position along one axis, and the weight of the second. The weight is never 0 or 1. At a
// position that coincides with a value, both neighbors are that value. This avoids multiplying an adjacent infinity or
// NaN by 0.
struct Tap {
  int32_t before;
  int32_t after;
  float fraction;
};

// Exact between equal numbers, so a pixel among cells of one half stays exactly one half.
SEAMSEG_HOST_DEVICE inline float between(float before, float after, float fraction) {
  return before + fraction * (after - before);
}

// Interpolates like torch.nn.functional.interpolate. Unlike between(), it avoids a difference, which is NaN for two
// equal infinities. An infinity next to another value stays infinite, except next to the opposite infinity or NaN,
// which give NaN.
template <typename N>
SEAMSEG_HOST_DEVICE inline N blend(N before, N after, N fraction) {
  return (1 - fraction) * before + fraction * after;
}

// Clamps a position to 0 ... last. NaN becomes 0.
SEAMSEG_HOST_DEVICE inline Tap tap_at(double position, int64_t last) {
  const auto end = static_cast<double>(last);
  const double inside = position > 0 ? (position < end ? position : end) : 0;
  const auto before = static_cast<int32_t>(inside);
  const auto fraction = static_cast<float>(inside - before);
  if (fraction > 0 && fraction < 1) {
    return {before, before + 1, fraction};
  }
  const int32_t on = fraction > 0 ? before + 1 : before; // a weight just below 1 rounds to 1
  return {on, on, 0.5f};
}

// Returns the tap of pixel i on an axis where `num` values are `1 / step` pixels apart. The outermost values extend to
// the edges.
SEAMSEG_HOST_DEVICE inline Tap value_tap(int64_t i, double step, int64_t num) {
  return tap_at((static_cast<double>(i) + 0.5) * step - 0.5, num - 1);
}

// Returns the tap of pixel i on an axis where a box contains `num` cells. Cells are counted from 1, because they are
// padded with a zero on either side: cell 0 and cell num + 1.
SEAMSEG_HOST_DEVICE inline Tap cell_tap(int64_t i, double low, double high, int64_t num) {
  const double cells_per_pixel = static_cast<double>(num) / (high - low);
  return tap_at((static_cast<double>(i) + 0.5 - low) * cells_per_pixel + 0.5, num + 1);
}

// Whether other objects own more than a fraction `threshold` of an object's pixels.
SEAMSEG_HOST_DEVICE inline bool is_dropped(int64_t area, int64_t free_area, double threshold) {
  return area > 0 && static_cast<double>(area - free_area) / static_cast<double>(area) > threshold;
}

// Whether the free pixels of a class form a segment.
SEAMSEG_HOST_DEVICE inline bool is_segment(int64_t klass, int64_t free_area, double min_area) {
  return klass != void_class && free_area > 0 && static_cast<double>(free_area) >= min_area;
}

// Returns the index of the counter for a value of the class map. Values that are not a class share the last counter.
SEAMSEG_HOST_DEVICE inline int64_t class_place(int64_t klass) {
  return klass >= 0 && klass < num_classes ? klass : num_classes;
}

} // namespace seamseg::fusion
