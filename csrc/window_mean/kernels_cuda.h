// CUDA kernel of the mean over a window along one axis, and of its gradient, with its launch. This is plain CUDA C++
// that does not depend on PyTorch. nvcc compiles it for GPUs. The tests compile it for the CPU, where a harness runs
// every thread of every block.
//
// Every value of either is a sum over a range of values. Both ends of the range only move forward along the axis, so a
// running sum reads every value twice. Each thread starts one anew for some consecutive positions.

#pragma once

#include <cstdint>
#include <type_traits>

#include "../compute_type.h"
#include "../items_cuda.h"
#include "windows.h"

namespace seamseg::window_mean::cuda {

constexpr int64_t positions_of_thread = 64;

// Values begin ... end - 1.
struct Range {
  int64_t begin, end;
};

// Returns the values in the window of a result.
__device__ inline Range window_of(int64_t result, const Windows& windows) {
  const int64_t shifted = result - windows.before;
  const int64_t window = shifted < 0 ? 0 : (shifted < windows.num ? shifted : windows.num - 1);
  return {window, window + windows.size};
}

// Returns the results whose windows contain a value.
__device__ inline Range results_with(int64_t value, int64_t length, const Windows& windows) {
  const int64_t first = value - windows.size + 1; // window
  const bool in_last = value >= windows.num - 1;
  return {first <= 0 ? 0 : first + windows.before, in_last ? length : value + windows.before + 1};
}

template <typename T>
__device__ inline Compute<T> to_compute(T value) {
  if constexpr (std::is_same_v<T, double>) {
    return value;
  } else {
    return to_float(value);
  }
}

template <typename U, typename C>
__device__ inline U from_compute(C value) {
  if constexpr (std::is_same_v<U, C>) {
    return value;
  } else {
    return from_float<U>(value);
  }
}

// Consecutive threads have consecutive lines, which are next to each other in memory if the axis has an inner size.
template <bool backward, typename T, typename U>
__global__ void __launch_bounds__(block_threads) average(const T* source, Axis axis, Windows windows, U* target) {
  using C = Compute<T>;
  const C scale = C(1) / static_cast<C>(windows.size);
  const int64_t segments = (axis.length + positions_of_thread - 1) / positions_of_thread;
  for_items(axis.outer * segments * axis.inner, [&](int64_t item) {
    const int64_t segment = item / axis.inner % segments;
    const int64_t line = item / axis.inner / segments * axis.length * axis.inner + item % axis.inner;
    const int64_t first = segment * positions_of_thread;
    const int64_t end = axis.length < first + positions_of_thread ? axis.length : first + positions_of_thread;
    C sum = 0;
    Range summed{-1, -1}; // none yet
    for (int64_t i = first; i < end; ++i) {
      const Range range = backward ? results_with(i, axis.length, windows) : window_of(i, windows);
      summed = i == first ? Range{range.begin, range.begin} : summed;
      for (; summed.end < range.end; ++summed.end) {
        sum += to_compute(source[line + summed.end * axis.inner]);
      }
      for (; summed.begin < range.begin; ++summed.begin) {
        sum -= to_compute(source[line + summed.begin * axis.inner]);
      }
      target[line + i * axis.inner] = from_compute<U>(sum * scale);
    }
  });
}

// ---- launch ---------------------------------------------------------------------------------------------------------

// Averages along the columns into `sums`, in the compute type, and then along the rows.
template <bool backward, typename T, typename Launch>
void launch_average(
    const Launch& launch, const T* source, const Axis& columns, const Axis& rows, int64_t window, Compute<T>* sums,
    T* target) {
  const auto grid_of = [](const Axis& axis) {
    return grid_for(axis.outer * axis.inner * ((axis.length + positions_of_thread - 1) / positions_of_thread));
  };
  launch(
      &average<backward, T, Compute<T>>, grid_of(columns), dim3(block_threads), source, columns,
      Windows(window, columns.length), sums);
  launch(
      &average<backward, Compute<T>, T>, grid_of(rows), dim3(block_threads), static_cast<const Compute<T>*>(sums), rows,
      Windows(window, rows.length), target);
}

} // namespace seamseg::window_mean::cuda
