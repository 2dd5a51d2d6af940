// Loops over items and conversions of numbers in CUDA kernels. This is plain CUDA C++ that does not depend on PyTorch.

#pragma once

// Kernels refuse values by an assertion, as those of PyTorch do, because the CPU does not wait for them.
#undef NDEBUG
#include <cassert>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace seamseg {

constexpr int block_threads = 256;
constexpr int64_t largest_grid = 1 << 14; // maximum number of blocks; each block loops over further items

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    return value;
  }
}

// Calls use(i) for the items of this thread.
template <typename Use>
__device__ inline void for_items(int64_t num, const Use& use) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < num; i += step) {
    use(i);
  }
}

inline dim3 grid_for(int64_t num) {
  const int64_t blocks = (num + block_threads - 1) / block_threads;
  return dim3(static_cast<unsigned>(std::clamp<int64_t>(blocks, 1, largest_grid)));
}

} // namespace seamseg
