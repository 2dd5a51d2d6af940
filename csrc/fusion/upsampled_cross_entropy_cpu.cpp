// CPU operators for the cross-entropy of upsampled logits and its gradient. The kernels are in cross_entropy_cpu.inl.

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "arguments.h"
#include "kernels_cpu.h"
#include "scores_cpu.h"

namespace seamseg::fusion {
namespace {

// Minimum number of upsampled scores per thread.
constexpr int64_t grain = 1 << 16;

[[noreturn]] void refuse_class(const Tensor& target, int64_t num_classes) {
  const auto* classes = pointer<int64_t>(target);
  const auto* wrong = std::find_if(classes, classes + target.numel(), [&](int64_t klass) {
    return klass != void_class && (klass < 0 || klass >= num_classes);
  });
  const int64_t place = wrong - classes, width = target.size(1);
  throw std::invalid_argument(
      "upsampled_cross_entropy: the pixel in row " + std::to_string(place / width) + " and column " +
      std::to_string(place % width) + " has class " + std::to_string(*wrong) + ", but the classes are 0 to " +
      std::to_string(num_classes - 1) + " and " + std::to_string(void_class) + " for void");
}

template <typename T>
void fill_losses(const Tensor& logits, const Tensor& target, double row_step, double column_step, PixelLosses to) {
  const UpsampledScores<T> upsampled(logits, row_step, column_step, target.size(0), target.size(1));
  const Scores<T>& scores = upsampled.get();
  const auto loss_rows = score_kernels<T>().loss_rows;
  std::atomic<bool> valid{true};
  const int64_t rows_of_grain = std::max<int64_t>(1, grain / (scores.classes * scores.num_columns));
  torch::stable::parallel_for(0, scores.num_rows, rows_of_grain, [&](int64_t begin, int64_t end) {
    if (!loss_rows(scores, pointer<int64_t>(target), begin, end, to)) {
      valid = false;
    }
  });
  if (!valid) {
    refuse_class(target, scores.classes);
  }
}

std::tuple<Tensor, Tensor> upsampled_cross_entropy(
    Tensor logits, Tensor target, double row_step, double column_step) {
  check_cross_entropy(logits, target);
  const std::array<int64_t, 2> size{target.size(0), target.size(1)};
  Tensor losses = torch::stable::new_empty(logits, size, ScalarType::Float);
  Tensor log_sums = torch::stable::new_empty(logits, size, ScalarType::Float);
  if (target.numel() == 0) {
    return {losses, log_sums};
  }
  const Tensor scores = torch::stable::contiguous(logits), classes = torch::stable::contiguous(target);
  const PixelLosses to{mutable_pointer<float>(losses), mutable_pointer<float>(log_sums)};
  switch (scores.scalar_type()) {
    case ScalarType::BFloat16:
      fill_losses<torch::headeronly::BFloat16>(scores, classes, row_step, column_step, to);
      break;
    case ScalarType::Half: fill_losses<torch::headeronly::Half>(scores, classes, row_step, column_step, to); break;
    default: fill_losses<float>(scores, classes, row_step, column_step, to);
  }
  return {losses, log_sums};
}

template <typename T>
void add_gradient(
    const Tensor& logits, const Chosen& chosen, const Tensor& classes, double row_step, double column_step,
    float* gradient) {
  const UpsampledScores<T> upsampled(logits, row_step, column_step, classes.size(0), classes.size(1));
  const Scores<T>& scores = upsampled.get();
  const auto gradient_rows = score_kernels<T>().gradient_rows;
  // A thread repeats the pixels between its first row and the row before, so fewer than some rows are not worth it.
  torch::stable::parallel_for(0, scores.height, 8, [&](int64_t begin, int64_t end) {
    gradient_rows(scores, chosen, begin, end, gradient);
  });
}

Tensor upsampled_cross_entropy_gradient(
    Tensor logits, Tensor classes, Tensor log_sums, Tensor weight, std::optional<Tensor> factors, double row_step,
    double column_step) {
  check_cross_entropy_gradient(logits, classes, log_sums, weight, factors);
  Tensor gradient = torch::stable::new_zeros(logits, logits.sizes(), ScalarType::Float);
  if (classes.numel() == 0) {
    return gradient;
  }
  const Tensor scores = torch::stable::contiguous(logits);
  const Tensor known = torch::stable::contiguous(classes), sums = torch::stable::contiguous(log_sums);
  const Tensor scales = factors ? torch::stable::contiguous(*factors) : sums; // without factors, it is not read
  const Chosen chosen{
      pointer<uint8_t>(known), pointer<float>(sums), pointer<float>(weight),
      factors ? pointer<float>(scales) : nullptr};
  auto* to = mutable_pointer<float>(gradient);
  switch (scores.scalar_type()) {
    case ScalarType::BFloat16:
      add_gradient<torch::headeronly::BFloat16>(scores, chosen, known, row_step, column_step, to);
      break;
    case ScalarType::Half:
      add_gradient<torch::headeronly::Half>(scores, chosen, known, row_step, column_step, to);
      break;
    default: add_gradient<float>(scores, chosen, known, row_step, column_step, to);
  }
  return gradient;
}

} // namespace
} // namespace seamseg::fusion

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("upsampled_cross_entropy", TORCH_BOX(&seamseg::fusion::upsampled_cross_entropy));
  library.impl("upsampled_cross_entropy_gradient", TORCH_BOX(&seamseg::fusion::upsampled_cross_entropy_gradient));
}
