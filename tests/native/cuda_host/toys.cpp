// Small kernels that test cuda_host.cpp. Most of them contain a deliberate bug that it must find. They are called by
// name.

#include <map>
#include <string>

#include <cuda_runtime.h>

namespace {

constexpr int size = 64; // threads per block, and numbers per buffer

// Reverses the numbers of a block through shared memory.
template <bool with_barrier>
__global__ void reverse(const float* in, float* out) {
  __shared__ float numbers[size];
  numbers[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) {
    __syncthreads();
  }
  out[threadIdx.x] = numbers[size - 1 - threadIdx.x];
}

__global__ void reverse_dynamic(const float* in, float* out) {
  DYNAMIC_SHARED(float, numbers);
  numbers[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = numbers[size - 1 - threadIdx.x];
}

// Has a barrier after the writes, but none before the next round overwrites numbers that other threads still read.
__global__ void overwrite_early(const float* in, float* out) {
  __shared__ float numbers[size];
  for (int round = 0; round < 2; ++round) {
    numbers[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = numbers[size - 1 - threadIdx.x];
  }
}

// The result is correct if thread 0 happens to run first.
__global__ void write_after_read(const float* in, float* out) {
  __shared__ float numbers[size];
  numbers[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = numbers[0];
  if (threadIdx.x == size - 2) {
    numbers[0] = 1;
  }
}

__global__ void write_same_word(const float* in, float* out) {
  __shared__ float number;
  number = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = number;
}

__global__ void read_unwritten(const float*, float* out) {
  __shared__ float numbers[size];
  if (threadIdx.x > 0) {
    numbers[threadIdx.x] = 1;
  }
  __syncthreads();
  out[threadIdx.x] = numbers[threadIdx.x];
}

__global__ void divergent_barrier(const float* in, float* out) {
  if (threadIdx.x < 16) {
    __syncthreads();
  }
  out[threadIdx.x] = in[threadIdx.x];
}

template <int offset>
__global__ void read_beside(const float* in, float* out) {
  out[threadIdx.x] = in[static_cast<int>(threadIdx.x) + offset];
}

__global__ void write_beyond(const float* in, float* out) { out[threadIdx.x + 1] = in[threadIdx.x]; }

__global__ void write_input(const float* in, float*) { const_cast<float*>(in)[threadIdx.x] = 1; }

__global__ void index_beyond_shared(const float* in, float* out) {
  __shared__ float numbers[size / 2];
  numbers[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = numbers[threadIdx.x];
}

template <int offset>
__global__ void copy_vectors(const float* in, float* out) {
  if (threadIdx.x < size / 4 - 1) {
    reinterpret_cast<float4*>(out)[threadIdx.x] = reinterpret_cast<const float4*>(in + offset)[threadIdx.x];
  }
}

// Two blocks write to the same place.
__global__ void blocks_collide(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x]; }

template <unsigned mask, int lanes>
__global__ void sum_warp(const float* in, float* out) {
  float sum = in[threadIdx.x];
  if (threadIdx.x % 32 < lanes) {
    for (int distance = 16; distance > 0; distance /= 2) {
      sum += __shfl_xor_sync(mask, sum, distance);
    }
  }
  out[threadIdx.x] = sum;
}

template <bool with_barrier>
__global__ void swap_in_warp(const float* in, float* out) {
  __shared__ float numbers[size];
  numbers[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) {
    __syncwarp();
  }
  const float neighbor = numbers[threadIdx.x ^ 1];
  if (with_barrier) {
    __syncwarp();
  }
  numbers[threadIdx.x] = neighbor;
  out[threadIdx.x] = numbers[threadIdx.x];
}

__global__ void add_up(const float* in, float* out) { atomicAdd(out, in[threadIdx.x]); }

__global__ void index_in_three(const float* in, float* out) {
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] = in[i];
}

struct Toy {
  void (*kernel)(const float*, float*);
  dim3 grid = 1;
  dim3 block = size;
  size_t shared_bytes = 0;
};

const std::map<std::string, Toy> toys = {
    {"reverse", {&reverse<true>}},
    {"reverse_dynamic", {&reverse_dynamic, 1, size, size * sizeof(float)}},
    {"index_in_three", {&index_in_three, {2, 1, 2}, {2, 4, 2}}},
    {"copy_vectors", {&copy_vectors<0>}},
    {"sum_warp", {&sum_warp<0xffffffffu, 32>}},
    {"swap_in_warp", {&swap_in_warp<true>}},
    {"add_up", {&add_up}},
    {"missing_barrier", {&reverse<false>}},
    {"missing_warp_barrier", {&swap_in_warp<false>}},
    {"overwrite_early", {&overwrite_early}},
    {"write_after_read", {&write_after_read}},
    {"write_same_word", {&write_same_word}},
    {"read_unwritten", {&read_unwritten}},
    {"divergent_barrier", {&divergent_barrier}},
    {"read_before", {&read_beside<-1>}},
    {"read_beyond", {&read_beside<1>}},
    {"write_beyond", {&write_beyond}},
    {"write_input", {&write_input}},
    {"index_beyond_shared", {&index_beyond_shared}},
    {"dynamic_too_small", {&reverse_dynamic, 1, size, size * sizeof(float) - 1}},
    {"misaligned_vectors", {&copy_vectors<1>}},
    {"blocks_collide", {&blocks_collide, 2}},
    {"lane_missing", {&sum_warp<0xffffffffu, 31>}},
    {"lane_outside_mask", {&sum_warp<0x0000ffffu, 32>}},
    {"empty_grid", {&reverse<true>, 0}},
};

} // namespace

// Returns a description of the fault, or an empty string.
extern "C" const char* run_toy(const char* name, const float* in, float* out) {
  return cuda_host::fault_of([=] {
    const Toy& toy = toys.at(name);
    cuda_host::give(in, size * sizeof(float), sizeof(float), false);
    cuda_host::give(out, size * sizeof(float), sizeof(float), true);
    cuda_host::launch(name, toy.kernel, toy.grid, toy.block, toy.shared_bytes, in, out);
  });
}
