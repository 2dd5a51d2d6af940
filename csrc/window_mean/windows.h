// Windows along an axis, shared by the CPU and CUDA kernels.

#pragma once

#include <algorithm>
#include <cstdint>

namespace seamseg::window_mean {

// An axis of a dense tensor: outer × length × inner values.
struct Axis {
  int64_t outer;
  int64_t length;
  int64_t inner;
};

// Windows along an axis. The first `before` results repeat that of the first window, and the last ones the last.
struct Windows {
  int64_t size;
  int64_t before;
  int64_t num;

  Windows(int64_t window, int64_t length)
      : size(std::min(window, length)), before((size - 1) / 2), num(length - size + 1) {}
};

} // namespace seamseg::window_mean
