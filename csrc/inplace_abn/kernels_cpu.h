// Kernels of the CPU operators, compiled once per instruction set and chosen at run time. A kernel processes a piece of
// a tensor in one thread. layer_cpu.h splits the tensors into pieces.

#pragma once

#include <cstdint>

#include "../compute_type.h"
#include "activation.h"

namespace seamseg::inplace_abn {

// Statistics of the samples seen so far. Two of them merge exactly (Chan, Golub and LeVeque, 1983).
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

  // The biased variance; 0 without samples.
  double variance() const { return count > 0 ? deviation / count : 0; }
};

// Sums of the backward pass, per channel.
struct Sums {
  double dy = 0;
  double dy_y = 0; // sum of dy * (y - beta)
};

// Constants are numbers if a piece belongs to one channel, and arrays if its columns are channels.

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

// Positions of the samples of one channel: `count` runs of `num` samples, with starts `stride` apart.
struct Runs {
  int64_t num;
  int64_t count;
  int64_t stride;
};

// Inputs of a kernel. In the backward pass, x is the output z. The residual may be null; then dr is null, too.
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
  bool streams; // whether to write past the caches, because the gradients do not fit

  Gradients at(int64_t offset) const {
    return {dz + offset, dx + offset, dr == nullptr ? nullptr : dr + offset, streams};
  }
};

// Kernels of one type and activation. A normalized output z may be the input itself.
template <typename T>
struct Kernels {
  using A = Compute<T>;

  // For samples of one channel.
  void (*run_moments)(const T* x, Runs runs, Moments& moments);
  void (*run_normalize)(Input<T> input, T* z, Runs runs, ForwardConstants<A> constants, A slope);
  void (*run_sums)(Input<T> input, const T* dz, Runs runs, A beta, A slope, Sums& sums);
  void (*run_gradient)(Input<T> input, Gradients<T> to, Runs runs, BackwardConstants<A> constants, A slope);

  // For rows of samples, with the channels side by side.
  void (*rows_moments)(const T* x, int64_t rows, int64_t channels, Moments* moments);
  void (*rows_normalize)(
      Input<T> input, T* z, int64_t rows, int64_t channels, ForwardConstants<const A*> constants, A slope);
  void (*rows_sums)(Input<T> input, const T* dz, int64_t rows, int64_t channels, const A* beta, A slope, Sums* sums);
  void (*rows_gradient)(
      Input<T> input, Gradients<T> to, int64_t rows, int64_t channels, BackwardConstants<const A*> constants, A slope);

  // For the weights of one filter, which are in the compute type.
  void (*filter_standardize)(const A* weights, T* filter, int64_t num, A mean, A factor);
  void (*filter_gradient)(const A* weights, const T* dfilter, A* dweights, int64_t num, A mean, A factor);
};

// Kernels by activation, in one array per instruction set. The x86 ones exist only on x86.
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
namespace avx512_bf16 { // only for bfloat16
template <typename T>
const Kernels<T>* all_kernels();
}

// Returns the kernels for this machine.
template <typename T>
const Kernels<T>* kernels();

} // namespace seamseg::inplace_abn
