// Launches the CUDA kernels of the mean over a window on the CPU.

#include "window_mean/kernels_cuda.h"

#include "launching.h"

using cuda_host::give;
using cuda_host::Launch;
using namespace seamseg::window_mean;
using namespace seamseg::window_mean::cuda;

extern "C" {

// One call, filled in by tests/native/window_mean_kernels.py.
struct WindowMeanCall {
  const void* source;
  void* sums; // float64 for float64, else float32
  void* target;
  int64_t type; // 0 float32, 1 float16, 2 bfloat16, 3 float64
  int64_t planes, height, width, inner, window, backward;
};
}

namespace {

template <typename T>
void run(const WindowMeanCall& call) {
  const int64_t num = call.planes * call.height * call.width * call.inner;
  const auto* source = static_cast<const T*>(call.source);
  auto* sums = static_cast<seamseg::Compute<T>*>(call.sums);
  auto* target = static_cast<T*>(call.target);
  give(source, num);
  give(sums, num);
  give(target, num);
  const Axis columns{call.planes * call.height, call.width, call.inner};
  const Axis rows{call.planes, call.height, call.width * call.inner};
  if (call.backward != 0) {
    launch_average<true>(Launch{"gradient"}, source, columns, rows, call.window, sums, target);
  } else {
    launch_average<false>(Launch{"mean"}, source, columns, rows, call.window, sums, target);
  }
}

} // namespace

// Returns a description of the fault, or an empty string.
extern "C" const char* window_mean(const WindowMeanCall* call) {
  if (call->type == 3) {
    return cuda_host::fault_of([&] { run<double>(*call); });
  }
  return cuda_host::fault_with_type(call->type, [&](auto number) { run<decltype(number)>(*call); });
}
