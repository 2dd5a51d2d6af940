// CUDA operators for the cross-entropy of upsampled logits and its gradient. The kernels are in cross_entropy_cuda.h.

#include "../device_cuda.h"

#include <optional>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "arguments.h"
#include "cross_entropy_cuda.h"

namespace seamseg::fusion::cuda {
namespace {

// The logits of an image as arguments of the kernels, and the memory for the positions of its pixels.
struct Upsampling {
  Tensor logits, taps;
  Steps steps;
  int64_t num_rows, num_columns;

  Upsampling(const Tensor& logits, const Steps& steps, const Tensor& classes)
      : logits(torch::stable::contiguous(logits)),
        taps(torch::stable::new_empty(
            logits, {num_taps(classes.size(0), classes.size(1)), static_cast<int64_t>(sizeof(Tap))}, ScalarType::Byte)),
        steps(steps),
        num_rows(classes.size(0)),
        num_columns(classes.size(1)) {}

  template <typename T>
  Scores<T> launch(const Device& device) const {
    const int64_t height = logits.size(1), width = logits.size(2);
    Scores<T> scores{pointer<T>(logits), logits.size(0), height, width, nullptr, nullptr, num_rows, num_columns};
    launch_taps(device, steps, mutable_pointer<Tap>(taps), scores);
    return scores;
  }
};

std::tuple<Tensor, Tensor> upsampled_cross_entropy(
    Tensor logits, Tensor target, double row_step, double column_step) {
  check_cross_entropy(logits, target);
  Tensor losses = torch::stable::new_empty(logits, {target.size(0), target.size(1)}, ScalarType::Float);
  Tensor log_sums = torch::stable::new_empty(losses, {target.size(0), target.size(1)});
  if (target.numel() > 0) {
    const Device device(logits, "upsampled_cross_entropy");
    const Upsampling upsampling(logits, {row_step, column_step}, target);
    const Tensor classes = torch::stable::contiguous(target);
    const PixelLosses to{mutable_pointer<float>(losses), mutable_pointer<float>(log_sums)};
    with_type(logits.scalar_type(), [&](auto number) {
      launch_losses(device, upsampling.launch<decltype(number)>(device), pointer<int64_t>(classes), to);
    });
  }
  return {losses, log_sums};
}

Tensor upsampled_cross_entropy_gradient(
    Tensor logits, Tensor classes, Tensor log_sums, Tensor weight, std::optional<Tensor> factors, double row_step,
    double column_step) {
  check_cross_entropy_gradient(logits, classes, log_sums, weight, factors);
  if (classes.numel() == 0) {
    return torch::stable::new_zeros(logits, logits.sizes(), ScalarType::Float);
  }
  Tensor gradient = torch::stable::new_empty(logits, logits.sizes(), ScalarType::Float);
  const Device device(logits, "upsampled_cross_entropy_gradient");
  const Upsampling upsampling(logits, {row_step, column_step}, classes);
  const Tensor known = torch::stable::contiguous(classes), sums = torch::stable::contiguous(log_sums);
  const Tensor scales = factors ? torch::stable::contiguous(*factors) : sums; // without factors, it is not read
  const Chosen chosen{
      pointer<uint8_t>(known), pointer<float>(sums), pointer<float>(weight),
      factors ? pointer<float>(scales) : nullptr};
  with_type(logits.scalar_type(), [&](auto number) {
    const auto scores = upsampling.launch<decltype(number)>(device);
    launch_gradient(device, scores, chosen, upsampling.steps, mutable_pointer<float>(gradient));
  });
  return gradient;
}

} // namespace
} // namespace seamseg::fusion::cuda

STABLE_TORCH_LIBRARY_IMPL(seamseg, CUDA, library) {
  library.impl("upsampled_cross_entropy", TORCH_BOX(&seamseg::fusion::cuda::upsampled_cross_entropy));
  library.impl(
      "upsampled_cross_entropy_gradient", TORCH_BOX(&seamseg::fusion::cuda::upsampled_cross_entropy_gradient));
}
