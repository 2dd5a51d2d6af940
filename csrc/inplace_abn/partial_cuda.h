// Partial results of a thread, and their reduction over the threads of a block. The order is fixed, so results are the
// same in every run.

#pragma once

#include "samples_cuda.h"

namespace seamseg::inplace_abn::cuda {

constexpr int warp_threads = 32;

template <typename A>
__device__ inline A shuffle_down(A value, int distance) {
  return __shfl_down_sync(0xffffffffu, value, distance);
}

// Moments of the samples minus a number near their mean, so a large mean does not cost precision.
template <typename A, int C>
struct PartialMoments {
  A count; // the same for every channel
  A mean[C];
  A squares[C]; // sum of squared differences from the mean

  static constexpr int fields = 3;

  // Chan, Golub, LeVeque 1979: "Updating formulae and a pairwise algorithm for computing sample variances".
  __device__ void merge(const PartialMoments& other) {
    const A total = count + other.count;
    const A weight = other.count / (total > A(0) ? total : A(1));
    for (int c = 0; c < C; ++c) {
      const A delta = other.mean[c] - mean[c];
      mean[c] += delta * weight;
      squares[c] += other.squares[c] + delta * delta * (count * weight);
    }
    count = total;
  }

  __device__ PartialMoments down(int distance) const {
    static_assert(C == 1);
    return {shuffle_down(count, distance), {shuffle_down(mean[0], distance)}, {shuffle_down(squares[0], distance)}};
  }

  __device__ A field(int i, int c) const { return i == 0 ? count : i == 1 ? mean[c] : squares[c]; }
  __device__ static PartialMoments of(const A (&field)[fields]) { return {field[0], {field[1]}, {field[2]}}; }
};

template <typename A, int C>
struct PartialSums {
  A dy[C];
  A dy_times_y[C]; // y minus beta

  static constexpr int fields = 2;

  __device__ void merge(const PartialSums& other) {
    for (int c = 0; c < C; ++c) {
      dy[c] += other.dy[c];
      dy_times_y[c] += other.dy_times_y[c];
    }
  }

  __device__ PartialSums down(int distance) const {
    static_assert(C == 1);
    return {{shuffle_down(dy[0], distance)}, {shuffle_down(dy_times_y[0], distance)}};
  }

  __device__ A field(int i, int c) const { return i == 0 ? dy[c] : dy_times_y[c]; }
  __device__ static PartialSums of(const A (&field)[fields]) { return {{field[0]}, {field[1]}}; }
};

// Merges over the whole block. Thread 0 gets the result.
template <typename Partial>
__device__ inline Partial merge_block(Partial partial) {
  constexpr int num_warps = block_threads / warp_threads;
  __shared__ Partial warps[num_warps];
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  for (int distance = warp_threads / 2; distance > 0; distance /= 2) {
    partial.merge(partial.down(distance));
  }
  if (thread % warp_threads == 0) {
    warps[thread / warp_threads] = partial;
  }
  __syncthreads();
  if (thread < warp_threads) {
    partial = thread < num_warps ? warps[thread] : Partial{};
    for (int distance = num_warps / 2; distance > 0; distance /= 2) {
      partial.merge(partial.down(distance));
    }
  }
  return partial;
}

// Merges over the threads with the same threadIdx.x. The threads with threadIdx.y = 0 get the results.
template <typename Partial>
__device__ inline Partial merge_columns(Partial partial) {
  __shared__ Partial upper_half[block_threads / 2];
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    if (threadIdx.y >= half && threadIdx.y < 2 * half) {
      upper_half[(threadIdx.y - half) * blockDim.x + threadIdx.x] = partial;
    }
    __syncthreads();
    if (threadIdx.y < half) {
      partial.merge(upper_half[threadIdx.y * blockDim.x + threadIdx.x]);
    }
    __syncthreads();
  }
  return partial;
}

} // namespace seamseg::inplace_abn::cuda
