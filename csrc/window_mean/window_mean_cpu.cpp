// CPU operators for the mean over a window with stride 1, and its gradient. Both pass over one axis after the other
// with running sums, so the time does not depend on the window.

#include <algorithm>
#include <array>
#include <cstdint>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "../check.h"
#include "../compute_type.h"
#include "../tensors.h"

namespace seamseg::window_mean {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Minimum number of values per thread.
constexpr int64_t grain = 32768;
// Maximum number of lines that are processed at once.
constexpr int64_t max_lanes = 256;

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
Tensor run(const Tensor& x, int64_t window, bool channels_last) {
  using C = Compute<T>;
  const int64_t images = x.size(0);
  const int64_t channels = x.size(1);
  const int64_t height = x.size(2);
  const int64_t width = x.size(3);
  const int64_t planes = channels_last ? images : images * channels;
  const int64_t inner = channels_last ? channels : 1;
  const Tensor first =
      torch::stable::new_empty(x, {x.numel()}, std::is_same_v<C, double> ? ScalarType::Double : ScalarType::Float);
  Tensor result = torch::stable::empty_like(x);
  if (x.numel() > 0) {
    auto* rows = mutable_pointer<C>(first);
    along<backward>({planes * height, width, inner}, window, pointer<T>(x), rows);
    along<backward>({planes, height, width * inner}, window, static_cast<const C*>(rows), mutable_pointer<T>(result));
  }
  return result;
}

template <bool backward>
Tensor dispatch(const Tensor& given, int64_t window, const char* op) {
  check(given.dim() == 4, op, "the input must have the shape N x C x H x W");
  check(window > 0, op, "the window must be positive");
  const bool channels_last = !given.is_contiguous() && given.stride(1) == 1;
  const Tensor x =
      torch::stable::contiguous(given, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  switch (x.scalar_type()) {
    case ScalarType::Float: return run<backward, float>(x, window, channels_last);
    case ScalarType::Double: return run<backward, double>(x, window, channels_last);
    case ScalarType::BFloat16: return run<backward, BFloat16>(x, window, channels_last);
    case ScalarType::Half: return run<backward, Half>(x, window, channels_last);
    default: check(false, op, "the input must be float32, float64, bfloat16 or float16"); return x;
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
