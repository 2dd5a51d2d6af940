// The loops of the CPU operators, compiled once for every instruction set and chosen at run time. They work on pieces
// of one thread; layer_cpu.h cuts the tensors into those.

#pragma once

#include <cstdint>
#include <type_traits>

#include "activation.h"

namespace seamseg::inplace_abn {

// What a type is computed in.
template <typename T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

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

// Constants of a piece are numbers where it belongs to one channel, and arrays where its columns are channels.

// y = (x - mean) * factor + beta.
template <typename Constant>
struct ForwardConstants {
  Constant mean;
  Constant factor;
  Constant beta;
};

// dx = dy * factor + (y - beta) * slope + offset.
template <typename Constant>
struct BackwardConstants {
  Constant beta;
  Constant factor;
  Constant slope;
  Constant offset;
};

// Where the samples of one channel lie: `count` runs of `num`, `stride` apart.
struct Runs {
  int64_t num;
  int64_t count;
  int64_t stride;
};

// What a kernel reads and writes; in the backward pass x is the output z. A residual may be null, and dr with it.
template <typename T>
struct Input {
  const T* x;
  const T* residual;

  Input at(int64_t offset) const { return {x + offset, residual == nullptr ? nullptr : residual + offset}; }
};

template <typename T>
struct Gradients {
  const T* dz;
  T* dx;
  T* dr;
  bool streams; // past the caches, in which they would find no room

  Gradients at(int64_t offset) const {
    return {dz + offset, dx + offset, dr == nullptr ? nullptr : dr + offset, streams};
  }
};

// Of one type and activation.
template <typename T>
struct Kernels {
  using A = Compute<T>;

  // Samples of one channel.
  void (*run_moments)(const T* x, Runs runs, Moments& moments);
  void (*run_normalize)(T* x, const T* residual, Runs runs, ForwardConstants<A> constants, A slope);
  void (*run_sums)(Input<T> input, const T* dz, Runs runs, A beta, A slope, Sums& sums);
  void (*run_gradient)(Input<T> input, Gradients<T> to, Runs runs, BackwardConstants<A> constants, A slope);

  // Rows of samples, in which the channels lie side by side.
  void (*rows_moments)(const T* x, int64_t rows, int64_t channels, Moments* moments);
  void (*rows_normalize)(
      T* x, const T* residual, int64_t rows, int64_t channels, ForwardConstants<const A*> constants, A slope);
  void (*rows_sums)(Input<T> input, const T* dz, int64_t rows, int64_t channels, const A* beta, A slope, Sums* sums);
  void (*rows_gradient)(
      Input<T> input, Gradients<T> to, int64_t rows, int64_t channels, BackwardConstants<const A*> constants, A slope);
};

// By activation; one array per instruction set. Those of x86 are there on x86 alone.
namespace baseline {
template <typename T>
const Kernels<T>* all_kernels();
}
namespace avx2 {
template <typename T>
const Kernels<T>* all_kernels();
}
namespace avx512 {
template <typename T>
const Kernels<T>* all_kernels();
}
namespace avx512_bf16 { // of bfloat16 alone
template <typename T>
const Kernels<T>* all_kernels();
}

// Those of this machine.
template <typename T>
const Kernels<T>* kernels();

} // namespace seamseg::inplace_abn
