// CPU operators for the mean over a window with stride 1, and its gradient. Both pass over one axis after the other
// with running sums, so the time does not depend on the window.

#include <algorithm>
#include <array>
#include <cstdint>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "../compute_type.h"
#include "arguments.h"

namespace seamseg::window_mean {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

// Minimum number of values per thread.
constexpr int64_t grain = 32768;
// Maximum number of lines that are processed at once.
constexpr int64_t max_lanes = 256;

// Parallel lines of an axis, which are processed together. Neighboring lines are next to each other in memory if the
// axis has an inner size, and one after the other otherwise.
template <bool adjacent>
struct Lines {
  int64_t num;
  int64_t length;

  int64_t at(int64_t position, int64_t lane) const {
    return adjacent ? position * step + lane : position + lane * length;
  }

  int64_t step = 1;
};

template <typename C>
using Sums = std::array<C, max_lanes>;

template <typename T, typename U, bool adjacent>
void mean_of_lines(const T* x, const Lines<adjacent>& lines, const Windows& windows, U* mean) {
  using C = Compute<T>;
  Sums<C> sums{};
  const C scale = C(1) / static_cast<C>(windows.size);
  for (int64_t i = 0; i < windows.size; ++i) {
    for (int64_t lane = 0; lane < lines.num; ++lane) {
      sums[lane] += static_cast<C>(x[lines.at(i, lane)]);
    }
  }
  int64_t written = 0;
  for (int64_t window = 0; window < windows.num; ++window) {
    if (window > 0) {
      for (int64_t lane = 0; lane < lines.num; ++lane) {
        sums[lane] += static_cast<C>(x[lines.at(window + windows.size - 1, lane)]) -
            static_cast<C>(x[lines.at(window - 1, lane)]);
      }
    }
    const int64_t end = window + 1 == windows.num ? lines.length : window + windows.before + 1;
    for (; written < end; ++written) {
      for (int64_t lane = 0; lane < lines.num; ++lane) {
        mean[lines.at(written, lane)] = static_cast<U>(sums[lane] * scale);
      }
    }
  }
}

// Adds the gradients of the results of one window.
template <typename T, typename C, bool adjacent>
void add_window(
    const T* gradient, const Lines<adjacent>& lines, const Windows& windows, int64_t window, C sign, Sums<C>& sums) {
  const int64_t begin = window == 0 ? 0 : window + windows.before;
  const int64_t end = window + 1 == windows.num ? lines.length : window + windows.before + 1;
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t lane = 0; lane < lines.num; ++lane) {
      sums[lane] += sign * static_cast<C>(gradient[lines.at(i, lane)]);
    }
  }
}

template <typename T, typename U, bool adjacent>
void gradient_of_lines(const T* gradient, const Lines<adjacent>& lines, const Windows& windows, U* dx) {
  using C = Compute<T>;
  Sums<C> sums{};
  const C scale = C(1) / static_cast<C>(windows.size);
  for (int64_t i = 0; i < lines.length; ++i) {
    if (i < windows.num) {
      add_window(gradient, lines, windows, i, C(1), sums);
    }
    if (i >= windows.size) {
      add_window(gradient, lines, windows, i - windows.size, C(-1), sums);
    }
    for (int64_t lane = 0; lane < lines.num; ++lane) {
      dx[lines.at(i, lane)] = static_cast<U>(sums[lane] * scale);
    }
  }
}

template <bool backward, typename T, typename U, bool adjacent>
void process(const T* source, const Lines<adjacent>& lines, const Windows& windows, U* target) {
  if constexpr (backward) {
    gradient_of_lines(source, lines, windows, target);
  } else {
    mean_of_lines(source, lines, windows, target);
  }
}

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <bool backward, typename T, typename U>
void along(const Axis& axis, int64_t window, const T* source, U* target) {
  const Windows windows(window, axis.length);
  const bool adjacent = axis.inner > 1;
  const int64_t side_by_side = adjacent ? axis.inner : axis.outer;
  // Lines that are far apart: as many as sums fit into registers.
  const int64_t lanes = std::min<int64_t>(side_by_side, adjacent ? max_lanes : 8);
  const int64_t blocks = ceil_divide(side_by_side, lanes);
  const int64_t items = adjacent ? axis.outer * blocks : blocks;
  const int64_t per_thread = std::max<int64_t>(1, grain / (lanes * axis.length));
  torch::stable::parallel_for(0, items, per_thread, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % blocks * lanes;
      const int64_t num = std::min(lanes, side_by_side - first);
      if (adjacent) {
        const int64_t offset = item / blocks * axis.length * axis.inner + first;
        const Lines<true> lines{num, axis.length, axis.inner};
        process<backward>(source + offset, lines, windows, target + offset);
      } else {
        const int64_t offset = first * axis.length;
        const Lines<false> lines{num, axis.length};
        process<backward>(source + offset, lines, windows, target + offset);
      }
    }
  });
}

template <bool backward, typename T>
Tensor run(const Input& input, int64_t window) {
  using C = Compute<T>;
  const Tensor sums = memory_for_sums(input.x);
  Tensor result = torch::stable::empty_like(input.x);
  if (input.x.numel() > 0) {
    along<backward>(input.columns, window, pointer<T>(input.x), mutable_pointer<C>(sums));
    along<backward>(input.rows, window, pointer<C>(sums), mutable_pointer<T>(result));
  }
  return result;
}

template <bool backward>
Tensor dispatch(const Tensor& given, int64_t window, const char* op) {
  const Input input(given, window, op);
  switch (input.x.scalar_type()) {
    case ScalarType::Double: return run<backward, double>(input, window);
    case ScalarType::BFloat16: return run<backward, BFloat16>(input, window);
    case ScalarType::Half: return run<backward, Half>(input, window);
    default: return run<backward, float>(input, window);
  }
}

Tensor window_mean(Tensor x, int64_t window) { return dispatch<false>(x, window, "window_mean"); }

Tensor window_mean_gradient(Tensor gradient, int64_t window) {
  return dispatch<true>(gradient, window, "window_mean_gradient");
}

} // namespace
} // namespace seamseg::window_mean

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("window_mean", TORCH_BOX(&seamseg::window_mean::window_mean));
  library.impl("window_mean_gradient", TORCH_BOX(&seamseg::window_mean::window_mean_gradient));
}
