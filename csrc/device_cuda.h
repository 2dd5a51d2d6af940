// Device, stream and types for kernel launches.

#pragma once

#ifndef USE_CUDA
#define USE_CUDA // declares aoti_torch_get_current_cuda_stream in PyTorch's header
#endif

#include <cstdint>
#include <stdexcept>
#include <string>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

namespace seamseg {

// Makes the device of a tensor current and launches kernels on its current stream. Error messages do not start with the
// operator's name, because these errors are not about arguments.
class Device {
 public:
  Device(const torch::stable::Tensor& x, const char* op)
      : guard_(x.get_device_index()), index_(x.get_device_index()), op_(op) {
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
    check(cudaSetDevice(index_)); // this library has its own CUDA runtime
  }

  int multiprocessors() const {
    int number = 0;
    check(cudaDeviceGetAttribute(&number, cudaDevAttrMultiProcessorCount, index_));
    return number;
  }

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), dim3 grid, dim3 block, const Arguments&... arguments) const {
    kernel<<<grid, block, 0, stream_>>>(arguments...);
    check(cudaGetLastError());
  }

 private:
  void check(cudaError_t error) const {
    if (error != cudaSuccess) {
      throw std::runtime_error(std::string("CUDA failed in ") + op_ + ": " + cudaGetErrorString(error));
    }
  }

  torch::stable::accelerator::DeviceGuard guard_;
  int32_t index_;
  const char* op_;
  cudaStream_t stream_ = nullptr;
};

// Calls use() with a value of a type, which must be float32, float16 or bfloat16.
template <typename Use>
void with_type(torch::headeronly::ScalarType type, const Use& use) {
  switch (type) {
    case torch::headeronly::ScalarType::BFloat16: return use(__nv_bfloat16());
    case torch::headeronly::ScalarType::Half: return use(__half());
    default: return use(0.0f);
  }
}

} // namespace seamseg
