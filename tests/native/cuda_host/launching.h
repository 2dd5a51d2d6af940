// Launches kernels on the CPU the way operators launch them on a GPU.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace cuda_host {

struct Launch {
  const char* name;

  template <typename Kernel, typename... Arguments>
  void operator()(Kernel kernel, dim3 grid, dim3 block, const Arguments&... arguments) const {
    launch(name, kernel, grid, block, 0, arguments...);
  }
};

// Registers memory for the kernels that run next. Memory that is not const may be written.
template <typename T>
void give(T* memory, int64_t count) {
  if (count > 0) {
    give(memory, static_cast<size_t>(count) * sizeof(T), sizeof(T), !std::is_const_v<T>);
  }
}

// Calls use() with a value of a type: 0 float32, 1 float16, 2 bfloat16. Returns a description of the fault, or an empty
// string.
template <typename Use>
const char* fault_with_type(int64_t type, const Use& use) {
  return fault_of([&] {
    switch (type) {
      case 0: return use(0.0f);
      case 1: return use(__half());
      default: return use(__nv_bfloat16());
    }
  });
}

} // namespace cuda_host
