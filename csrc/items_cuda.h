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

namespace seamseg {

constexpr int block_threads = 256;
constexpr int64_t largest_grid = 1 << 14; // maximum number of blocks; each block loops over further items

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ T from_float(float value);

template <>
__device__ inline float from_float<float>(float value) { return value; }

template <>
__device__ inline __half from_float<__half>(float value) { return __float2half_rn(value); }

template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float value) { return __float2bfloat16_rn(value); }

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
