// CUDA kernels of in-place activated BatchNorm. `reduce` computes one partial result per block and channel, `finish`
// merges the partial results, and `map` writes new samples. An operation defines the work per sample: BatchMoments,
// Normalize, Sums or Gradient. It processes W samples of C channels at once. C is 1 in the planar layout and W in the
// interleaved layout.

#pragma once

#include <cmath>

#include "activation.h"
#include "partial_cuda.h"
#include "samples_cuda.h"

namespace seamseg::inplace_abn::cuda {

// --- operations -----------------------------------------------------------------------------------------------------

template <typename T>
struct BatchMoments {
  using A = Accumulate<T>;
  template <int C>
  using Partial = PartialMoments<A, C>;
  template <int C>
  using Constants = Values<A, C>; // shift that is subtracted from the samples: the first sample of the channel

  const T* x;
  int64_t channel_stride; // distance between the first samples of adjacent channels

  template <int C>
  __device__ Constants<C> constants(int64_t channel) const {
    Constants<C> shift;
    for (int c = 0; c < C; ++c) {
      shift.at[c] = widen(x[(channel + c) * channel_stride]);
    }
    return shift;
  }

  template <int W, int C, typename I>
  __device__ void visit(I position, const Constants<C>& shift, Partial<C>& partial) const {
    const Values<A, W> values = load<W>(x, position);
    constexpr int per_channel = W / C;
    Partial<C> pack{per_channel, {}, {}};
    for (int i = 0; i < W; ++i) {
      pack.mean[i % C] += (values.at[i] - shift.at[i % C]) / per_channel;
    }
    for (int i = 0; i < W && per_channel > 1; ++i) {
      const A difference = values.at[i] - shift.at[i % C] - pack.mean[i % C];
      pack.squares[i % C] += difference * difference;
    }
    partial.merge(pack);
  }

  __device__ void finish(const Partial<1>& partial, int64_t channel, int64_t channels, A* moments) const {
    moments[channel] = constants<1>(channel).at[0] + partial.mean[0];
    moments[channels + channel] = partial.squares[0] / partial.count;
  }
};

template <typename T, typename Act>
struct Normalize {
  using A = Accumulate<T>;
  template <int C>
  struct Constants {
    A mean[C], scale[C], beta[C];
  };

  T* x;
  const T* residual; // or null
  const A *moments, *gamma, *beta;
  int64_t channels;
  A eps;
  Act activation;

  template <int C>
  __device__ Constants<C> constants(int64_t channel) const {
    Constants<C> constants;
    for (int c = 0; c < C; ++c, ++channel) {
      constants.mean[c] = moments[channel];
      constants.scale[c] = gamma[channel] / std::sqrt(moments[channels + channel] + eps);
      constants.beta[c] = beta[channel];
    }
    return constants;
  }

  template <int W, int C, typename I>
  __device__ void visit(I position, const Constants<C>& of) const {
    Values<A, W> values = load<W>(x, position);
    const Values<A, W> addend = load<W>(residual, position);
    for (int i = 0; i < W; ++i) {
      const A y = (values.at[i] - of.mean[i % C]) * of.scale[i % C] + of.beta[i % C] + addend.at[i];
      values.at[i] = activation.apply(y);
    }
    store<W>(x, position, values);
  }
};

// Recovers the values that both passes of the gradient need from the output z.
template <typename T, typename Act>
struct Recover {
  using A = Accumulate<T>;

  const T *z, *dz;
  const T* residual; // or null
  Act activation;

  template <int W, typename I>
  __device__ void recover(I position, Values<A, W>& y, Values<A, W>& dy) const {
    y = load<W>(z, position);
    dy = load<W>(dz, position);
    const Values<A, W> addend = load<W>(residual, position);
    for (int i = 0; i < W; ++i) {
      dy.at[i] = activation.derive(dy.at[i], y.at[i]);
      y.at[i] = activation.invert(y.at[i]) - addend.at[i];
    }
  }
};

template <typename T, typename Act>
struct Sums {
  using A = Accumulate<T>;
  template <int C>
  using Partial = PartialSums<A, C>;
  template <int C>
  using Constants = Values<A, C>; // beta

  Recover<T, Act> samples;
  const A *gamma, *beta;

  template <int C>
  __device__ Constants<C> constants(int64_t channel) const {
    Constants<C> constants;
    for (int c = 0; c < C; ++c) {
      constants.at[c] = beta[channel + c];
    }
    return constants;
  }

  template <int W, int C, typename I>
  __device__ void visit(I position, const Constants<C>& shift, Partial<C>& partial) const {
    Values<A, W> y, dy;
    samples.template recover<W>(position, y, dy);
    for (int i = 0; i < W; ++i) {
      partial.dy[i % C] += dy.at[i];
      partial.dy_times_y[i % C] += dy.at[i] * (y.at[i] - shift.at[i % C]);
    }
  }

  __device__ void finish(const Partial<1>& partial, int64_t channel, int64_t channels, A* sums) const {
    sums[channel] = partial.dy[0];
    sums[channels + channel] = partial.dy_times_y[0] / gamma[channel];
  }
};

template <typename T, typename Act>
struct Gradient {
  using A = Accumulate<T>;
  template <int C>
  struct Constants {
    A mean_dy[C], dy_scale[C], y_scale[C], beta[C];
  };

  Recover<T, Act> samples;
  T *dx, *dr; // dr is null without a residual
  const A *means, *moments, *gamma, *beta;
  int64_t channels;
  A means_scale, eps;

  template <int C>
  __device__ Constants<C> constants(int64_t channel) const {
    Constants<C> constants;
    for (int c = 0; c < C; ++c, ++channel) {
      const A rstd = A(1) / std::sqrt(moments[channels + channel] + eps);
      constants.mean_dy[c] = means[channel] * means_scale;
      constants.dy_scale[c] = gamma[channel] * rstd;
      constants.y_scale[c] = means[channels + channel] * means_scale * rstd;
      constants.beta[c] = beta[channel];
    }
    return constants;
  }

  template <int W, int C, typename I>
  __device__ void visit(I position, const Constants<C>& of) const {
    Values<A, W> y, dy;
    samples.template recover<W>(position, y, dy);
    if (dr != nullptr) {
      store<W>(dr, position, dy);
    }
    for (int i = 0; i < W; ++i) {
      dy.at[i] = of.dy_scale[i % C] * (dy.at[i] - of.mean_dy[i % C]) - of.y_scale[i % C] * (y.at[i] - of.beta[i % C]);
    }
    store<W>(dx, position, dy);
  }
};

// --- kernels --------------------------------------------------------------------------------------------------------

template <typename Operation, typename I, bool interleaved, int W>
__global__ void __launch_bounds__(block_threads) map(Operation operation, Geometry<I> geometry) {
  constexpr int C = interleaved ? W : 1;
  const I channel = first_channel<interleaved, W, I>();
  if (channel < geometry.channels) {
    const auto constants = operation.template constants<C>(channel);
    visit_channels<interleaved, W>(geometry, channel, [&](I position, auto width) {
      operation.template visit<decltype(width)::value, C>(position, constants);
    });
  }
}

// workspace: Partial::fields × gridDim.y × channels.
template <typename Operation, typename I, bool interleaved, int W>
__global__ void __launch_bounds__(block_threads)
    reduce(Operation operation, Geometry<I> geometry, typename Operation::A* workspace) {
  constexpr int C = interleaved ? W : 1;
  using Partial = typename Operation::template Partial<C>;
  Partial partial{};
  const I channel = first_channel<interleaved, W, I>();
  if (channel < geometry.channels) {
    const auto constants = operation.template constants<C>(channel);
    visit_channels<interleaved, W>(geometry, channel, [&](I position, auto width) {
      operation.template visit<decltype(width)::value, C>(position, constants, partial);
    });
  }
  if constexpr (interleaved) {
    partial = merge_columns(partial);
  } else {
    partial = merge_block(partial);
  }
  if (threadIdx.y == 0 && channel < geometry.channels && (interleaved || threadIdx.x == 0)) {
    for (int i = 0; i < Partial::fields; ++i) {
      const int64_t row = static_cast<int64_t>(i) * gridDim.y + blockIdx.y;
      for (int c = 0; c < C; ++c) {
        workspace[row * geometry.channels + channel + c] = partial.field(i, c);
      }
    }
  }
}

// Merges the partial results of `splits` blocks in the workspace. Each block processes blockDim.x channels.
template <typename Operation>
__global__ void __launch_bounds__(block_threads) finish(
    Operation operation, int splits, int64_t channels, const typename Operation::A* workspace,
    typename Operation::A* result) {
  using Partial = typename Operation::template Partial<1>;
  Partial partial{};
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
#pragma unroll 4
  for (int split = threadIdx.y; split < splits && channel < channels; split += blockDim.y) {
    typename Operation::A fields[Partial::fields];
    for (int i = 0; i < Partial::fields; ++i) {
      fields[i] = workspace[(static_cast<int64_t>(i) * splits + split) * channels + channel];
    }
    partial.merge(Partial::of(fields));
  }
  partial = merge_columns(partial);
  if (threadIdx.y == 0 && channel < channels) {
    operation.finish(partial, channel, channels, result);
  }
}

} // namespace seamseg::inplace_abn::cuda
