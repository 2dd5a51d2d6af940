// Assigns samples to the threads of the CUDA kernels, and reads and writes them in packs. This is plain CUDA C++ that
// does not depend on PyTorch. nvcc compiles it for GPUs. The tests compile it for the CPU, where a harness runs every
// thread of every block.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

namespace seamseg::inplace_abn::cuda {

constexpr int block_threads = 256; // threads per block in every kernel
constexpr int access_bytes = 16;   // size of the widest load and store

template <typename T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T, int W>
struct alignas(sizeof(T) * W) Pack {
  T at[W];
};

template <typename A, int W>
struct Values {
  A at[W];
};

template <typename T>
constexpr int significant_bits() {
  if constexpr (std::is_same_v<T, __half>) {
    return 11;
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return 8;
  } else {
    return std::numeric_limits<T>::digits;
  }
}

template <typename T>
__device__ inline Accumulate<T> widen(T value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else {
    return value;
  }
}

template <typename T>
__device__ inline T narrow(Accumulate<T> value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    return value;
  }
}

// Returns zeros if `data` is null.
template <int W, typename T, typename I>
__device__ inline Values<Accumulate<T>, W> load(const T* data, I position) {
  Values<Accumulate<T>, W> values{};
  if (data != nullptr) {
    const Pack<T, W> pack = *reinterpret_cast<const Pack<T, W>*>(data + position);
    for (int i = 0; i < W; ++i) {
      values.at[i] = widen(pack.at[i]);
    }
  }
  return values;
}

template <int W, typename T, typename I>
__device__ inline void store(T* data, I position, const Values<Accumulate<T>, W>& values) {
  Pack<T, W> pack;
  for (int i = 0; i < W; ++i) {
    pack.at[i] = narrow<T>(values.at[i]);
  }
  *reinterpret_cast<Pack<T, W>*>(data + position) = pack;
}

// Planar memory consists of `rows` times `channels` planes of `inner` samples. Each plane is cut into `pieces` of
// `piece` samples. A block processes pieces of one channel, blockDim.y at a time. Interleaved memory consists of `rows`
// of `channels` samples. A block processes blockDim.x * W channels, blockDim.y rows at a time. The blocks (x, 0), (x,
// 1), … share the work on the same channels.
template <typename I> // unsigned, so a position may exceed the end by one stride
struct Geometry {
  I rows, channels, inner, pieces, piece;
  I lead;       // samples between the last 16-byte boundary and the start of every tensor
  bool vectors; // whether planes may be read in packs; requires the same lead for all tensors
};

template <int W>
using Width = std::integral_constant<int, W>;

// Visits begin … end - 1 with the threads of one threadIdx.y: single samples up to a boundary, then packs, then single
// samples.
template <int W, typename I, typename Visit>
__device__ inline void visit_run(const Geometry<I>& geometry, I begin, I end, const Visit& visit) {
  const I past = (begin + geometry.lead) % W;
  const I head = geometry.vectors ? (past == 0 ? 0 : W - past) : end - begin;
  const I first = head < end - begin ? begin + head : end;
  const I last = end - (end - first) % W;
  for (I i = first + threadIdx.x * W; i < last; i += blockDim.x * W) {
    visit(i, Width<W>{});
  }
  const I singles = (first - begin) + (end - last);
  for (I i = threadIdx.x; i < singles; i += blockDim.x) {
    visit(i < first - begin ? begin + i : last + (i - (first - begin)), Width<1>{});
  }
}

template <bool interleaved, int W, typename I, typename Visit>
__device__ inline void visit_channels(const Geometry<I>& geometry, I channel, const Visit& visit) {
  const I start = blockIdx.y * blockDim.y + threadIdx.y;
  const I stride = gridDim.y * blockDim.y;
  if constexpr (interleaved) {
#pragma unroll 4
    for (I row = start; row < geometry.rows; row += stride) {
      visit(row * geometry.channels + channel, Width<W>{});
    }
  } else {
    for (I i = start; i < geometry.rows * geometry.pieces; i += stride) {
      const I plane = (i / geometry.pieces * geometry.channels + channel) * geometry.inner;
      const I begin = i % geometry.pieces * geometry.piece;
      const I left = geometry.inner - begin;
      visit_run<W>(geometry, plane + begin, plane + begin + (left < geometry.piece ? left : geometry.piece), visit);
    }
  }
}

// Returns the first channel of the thread. It may exceed the last channel of the input.
template <bool interleaved, int W, typename I>
__device__ inline I first_channel() {
  return interleaved ? (static_cast<I>(blockIdx.x) * blockDim.x + threadIdx.x) * W : blockIdx.x;
}

} // namespace seamseg::inplace_abn::cuda
