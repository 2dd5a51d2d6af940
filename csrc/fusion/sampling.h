// What the CPU and the CUDA kernels compute alike: where a pixel lies between values, and what becomes of a segment.

#pragma once

#include <cstdint>

#ifndef SEAMSEG_HOST_DEVICE
#if defined(__CUDACC__)
#define SEAMSEG_HOST_DEVICE __host__ __device__
#else
#define SEAMSEG_HOST_DEVICE
#endif
#endif

namespace seamseg::fusion {

constexpr int64_t num_classes = 256; // that a class map can name, void among them
constexpr int64_t void_class = 255;

// The two neighbors of a position along one axis, and the share of the second, which is never 0 or 1: at a position on
// a value both are that value, so that an infinity or NaN beside it, times 0, does not count.
struct Tap {
  int32_t before;
  int32_t after;
  float fraction;
};

// Exact between equal numbers, so that what lies among cells of one half stays one half.
SEAMSEG_HOST_DEVICE inline float between(float before, float after, float fraction) {
  return before + fraction * (after - before);
}

// As torch.nn.functional.interpolate weighs. Unlike between(), it takes no difference, which two equal infinities do
// not have: an infinity stays one beside anything but the opposite infinity or NaN, which give NaN.
SEAMSEG_HOST_DEVICE inline float blend(float before, float after, float fraction) {
  return (1 - fraction) * before + fraction * after;
}

// A position is put into 0 ... last; what is not a number goes to 0.
SEAMSEG_HOST_DEVICE inline Tap tap_at(double position, int64_t last) {
  const auto end = static_cast<double>(last);
  const double inside = position > 0 ? (position < end ? position : end) : 0;
  const auto before = static_cast<int32_t>(inside);
  const auto fraction = static_cast<float>(inside - before);
  if (fraction > 0 && fraction < 1) {
    return {before, before + 1, fraction};
  }
  const int32_t on = fraction > 0 ? before + 1 : before; // a share of nearly 1 is rounded to it
  return {on, on, 0.5f};
}

// Pixel i of an axis along which `num` values lie `1 / step` pixels apart; the outermost go on to the edges.
SEAMSEG_HOST_DEVICE inline Tap value_tap(int64_t i, double step, int64_t num) {
  return tap_at((static_cast<double>(i) + 0.5) * step - 0.5, num - 1);
}

// Pixel i of an axis along which a box holds `num` cells. They are counted from 1, because a zero frames them on either
// side: cell 0 and cell num + 1.
SEAMSEG_HOST_DEVICE inline Tap cell_tap(int64_t i, double low, double high, int64_t num) {
  const double cells_per_pixel = static_cast<double>(num) / (high - low);
  return tap_at((static_cast<double>(i) + 0.5 - low) * cells_per_pixel + 0.5, num + 1);
}

// Whether more of an object's pixels than a fraction is taken by others.
SEAMSEG_HOST_DEVICE inline bool is_dropped(int64_t area, int64_t free_area, double threshold) {
  return area > 0 && static_cast<double>(area - free_area) / static_cast<double>(area) > threshold;
}

// Whether the free pixels of a class make a segment.
SEAMSEG_HOST_DEVICE inline bool is_segment(int64_t klass, int64_t free_area, double min_area) {
  return klass != void_class && free_area > 0 && static_cast<double>(free_area) >= min_area;
}

// Where a pixel of a class map is counted: numbers that are no class share the place behind the last.
SEAMSEG_HOST_DEVICE inline int64_t class_place(int64_t klass) {
  return klass >= 0 && klass < num_classes ? klass : num_classes;
}

} // namespace seamseg::fusion
