// CPU operator that finds the class with the highest score for every pixel. The kernels are in kernels_cpu.inl.

#include <algorithm>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "arguments.h"
#include "kernels_cpu.h"
#include "scores_cpu.h"

namespace seamseg::fusion {
namespace {

// Minimum number of interpolated scores per thread.
constexpr int64_t grain = 1 << 16;

template <typename T>
void fill(const Tensor& logits, double row_step, double column_step, const Tensor& classes) {
  const UpsampledScores<T> upsampled(logits, row_step, column_step, classes.size(0), classes.size(1));
  const Scores<T>& scores = upsampled.get();
  const auto class_rows = score_kernels<T>().class_rows;
  auto* to = mutable_pointer<int64_t>(classes);
  const int64_t rows_of_grain = std::max<int64_t>(1, grain / (logits.size(0) * classes.size(1)));
  torch::stable::parallel_for(
      0, classes.size(0), rows_of_grain, [&](int64_t begin, int64_t end) { class_rows(scores, begin, end, to); });
}

Tensor upsample_argmax(Tensor logits, double row_step, double column_step, int64_t height, int64_t width) {
  check_scores(logits, height, width);
  Tensor classes = torch::stable::new_empty(logits, {height, width}, ScalarType::Long);
  if (classes.numel() == 0) {
    return classes;
  }
  const Tensor scores = torch::stable::contiguous(logits);
  switch (scores.scalar_type()) {
    case ScalarType::BFloat16: fill<torch::headeronly::BFloat16>(scores, row_step, column_step, classes); break;
    case ScalarType::Half: fill<torch::headeronly::Half>(scores, row_step, column_step, classes); break;
    default: fill<float>(scores, row_step, column_step, classes);
  }
  return classes;
}

} // namespace
} // namespace seamseg::fusion

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("upsample_argmax", TORCH_BOX(&seamseg::fusion::upsample_argmax));
}
