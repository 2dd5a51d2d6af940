// Names of CUDA C++ that kernels use, implemented for a CPU. Kernel files include <cuda_runtime.h>, <cuda_fp16.h> and
// <cuda_bf16.h> as usual. They get these files if this directory comes first in the include path. cuda_host.cpp runs
// the kernels.
//
// Kernels must be compiled with -fsanitize=thread,alignment,bounds, but not linked with the sanitizers. The compiler
// then reports every memory access to hooks.cpp, and cuda_host.cpp knows which memory each thread may access.

#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(16) float4 {
  float x, y, z, w;
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

namespace cuda_host {

constexpr int warp_threads = 32;

// Registers memory, an array of numbers of `number_bytes` bytes each, for the kernels that run next. They may not
// access any other memory.
void give(const void* memory, size_t bytes, size_t number_bytes, bool writable);

// Calls `use`, which registers memory and launches kernels, and then unregisters all memory. Returns a description of
// the fault, or an empty string. The result is valid until the next call.
const char* fault_of(const std::function<void()>& use);

// Runs a grid, block after block. Throws std::runtime_error with the first fault. Faults are accesses that are out of
// bounds, misaligned, in a race, or to memory that was never written; threads that wait for each other forever; and
// misused warp functions.
void run(
    const std::string& name, dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(const void*),
    const void* argument);

template <typename... Parameters, typename... Arguments>
void launch(
    const std::string& name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
    const Arguments&... arguments) {
  // The compiler must not report these accesses, because the arguments themselves are not in device memory.
  const auto thread = [=]() __attribute__((no_sanitize("thread"))) { kernel(arguments...); };
  const auto call = [](const void* it)
                        __attribute__((no_sanitize("thread"))) { (*static_cast<decltype(thread)*>(it))(); };
  run(name, grid, block, shared_bytes, call, &thread);
}

dim3 thread_index();
dim3 block_index();
dim3 block_size();
dim3 grid_size();
void* dynamic_shared();

// Waits for all lanes of the mask, which must include the caller, and returns the bits of lane `source`.
uint64_t exchange(unsigned mask, uint64_t bits, int source, const char* function);
int lane();
void* checked_atomic(void* address, size_t bytes);

template <typename T>
T shuffle(unsigned mask, T value, int source, int width, const char* function) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  const int first = lane() / width * width;
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  // Lanes outside the section read their own value.
  const uint64_t result = exchange(mask, bits, source < first || source >= first + width ? lane() : source, function);
  std::memcpy(&value, &result, sizeof(T));
  return value;
}

} // namespace cuda_host

#define threadIdx (cuda_host::thread_index())
#define blockIdx (cuda_host::block_index())
#define blockDim (cuda_host::block_size())
#define gridDim (cuda_host::grid_size())
#define warpSize (cuda_host::warp_threads)
// The CUDA equivalent is: extern __shared__ T name[];
#define DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(cuda_host::dynamic_shared())

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize) {
  const int first = cuda_host::lane() / width * width;
  return cuda_host::shuffle(mask, value, first + source % width, width, "__shfl_sync");
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return cuda_host::shuffle(mask, value, cuda_host::lane() - static_cast<int>(delta), width, "__shfl_up_sync");
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return cuda_host::shuffle(mask, value, cuda_host::lane() + static_cast<int>(delta), width, "__shfl_down_sync");
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
  return cuda_host::shuffle(mask, value, cuda_host::lane() ^ lanes, width, "__shfl_xor_sync");
}

// Threads run one at a time, so no other thread runs between the read and the write.
template <typename T>
__attribute__((no_sanitize("thread"))) T atomicAdd(T* address, T value) {
  T* word = static_cast<T*>(cuda_host::checked_atomic(address, sizeof(T)));
  const T before = *word;
  *word = before + value;
  return before;
}

template <typename T>
__attribute__((no_sanitize("thread"))) T atomicMax(T* address, T value) {
  T* word = static_cast<T*>(cuda_host::checked_atomic(address, sizeof(T)));
  const T before = *word;
  *word = before < value ? value : before;
  return before;
}
