// The loops of the CPU operators, compiled once for every instruction set and chosen at run time. They work on pieces
// of one thread; inplace_abn_cpu.cpp splits the tensors into those.

#pragma once

#include <cstdint>
#include <type_traits>

#include "activation.h"

namespace seamseg::inplace_abn {

// What a type is computed in.
template <typename T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Elements per row of a piece of a planar channel: columns are processed side by side by the vector units, and the
// pieces of all arguments stay in the first cache.
constexpr int64_t tile = 256;

// Statistics of the samples seen so far; two of them merge exactly (Chan, Golub and LeVeque, 1983).
struct Moments {
  double count = 0;
  double mean = 0;
  double deviation = 0; // sum of squared distances from the mean

  void merge(const Moments& other) {
    const double total = count + other.count;
    if (other.count == 0) {
      return;
    }
    const double delta = other.mean - mean;
    mean += delta * (other.count / total);
    deviation += other.deviation + delta * delta * (count * other.count / total);
    count = total;
  }
};

// Of the backward pass, per channel.
struct Sums {
  double dy = 0;
  double dy_y = 0; // of dy * (y - beta)
};

// The constants of a column: y = (x - mean) * factor + beta.
template <typename A>
struct ForwardColumns {
  const A* mean;
  const A* factor;
  const A* beta;
};

// dx = dy * factor + (y - beta) * slope + offset.
template <typename A>
struct BackwardColumns {
  const A* beta;
  const A* factor;
  const A* slope;
  const A* offset;
};

// Residuals may be null, and dr with them.
template <typename T>
struct Kernels {
  using A = Compute<T>;

  // A run of samples of one channel.
  void (*run_moments)(const T* x, int64_t num, Moments& moments);
  void (*run_sums[num_activations])(
      const T* z, const T* dz, const T* residual, int64_t num, A beta, A slope, Sums& sums);

  // Rows of columns. For moments and sums, and in the interleaved layout, a column is a channel; in the planar layout
  // rows are consecutive parts of one channel's samples and all columns have the same constants.
  void (*rows_moments)(const T* x, int64_t rows, int64_t columns, Moments* moments);
  void (*rows_sums[num_activations])(
      const T* z, const T* dz, const T* residual, int64_t rows, int64_t columns, const A* beta, A slope, Sums* sums);
  void (*normalise[num_activations])(
      T* x, const T* residual, int64_t rows, int64_t columns, ForwardColumns<A> constants, A slope);
  void (*gradient[num_activations])(
      const T* z, const T* dz, const T* residual, T* dx, T* dr, int64_t rows, int64_t columns,
      BackwardColumns<A> constants, A slope);
};

// One per instruction set; null where the compiler cannot build it.
template <typename T>
const Kernels<T>* baseline_kernels();
template <typename T>
const Kernels<T>* avx2_kernels();
template <typename T>
const Kernels<T>* avx512_kernels();

// Those of this machine.
template <typename T>
const Kernels<T>& kernels();

} // namespace seamseg::inplace_abn
