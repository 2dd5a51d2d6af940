// CUDA operators for the mean over a window with stride 1, and its gradient. The kernels are in kernels_cuda.h.

#include "../device_cuda.h"

#include <torch/csrc/stable/library.h>

#include "arguments.h"
#include "kernels_cuda.h"

namespace seamseg::window_mean::cuda {
namespace {

template <bool backward>
Tensor average_both(const Tensor& given, int64_t window, const char* op) {
  const Input input(given, window, op);
  Tensor result = torch::stable::empty_like(input.x);
  if (input.x.numel() == 0) {
    return result;
  }
  const Device device(given, op);
  const Tensor sums = memory_for_sums(input.x);
  const auto run = [&](auto number) {
    using T = decltype(number);
    launch_average<backward>(
        device, pointer<T>(input.x), input.columns, input.rows, window, mutable_pointer<Compute<T>>(sums),
        mutable_pointer<T>(result));
  };
  if (input.x.scalar_type() == ScalarType::Double) {
    run(0.0);
  } else {
    with_type(input.x.scalar_type(), run);
  }
  return result;
}

Tensor window_mean(Tensor x, int64_t window) { return average_both<false>(x, window, "window_mean"); }

Tensor window_mean_gradient(Tensor gradient, int64_t window) {
  return average_both<true>(gradient, window, "window_mean_gradient");
}

} // namespace
} // namespace seamseg::window_mean::cuda

STABLE_TORCH_LIBRARY_IMPL(seamseg, CUDA, library) {
  library.impl("window_mean", TORCH_BOX(&seamseg::window_mean::cuda::window_mean));
  library.impl("window_mean_gradient", TORCH_BOX(&seamseg::window_mean::cuda::window_mean_gradient));
}
