// CPU operators that standardize the filters of a layer, and their gradient. The kernels are next to those of in-place
// activated BatchNorm, whose moments they share.

#include <cmath>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>

#include "../check.h"
#include "../inplace_abn/layer_cpu.h"
#include "../tensors.h"

namespace seamseg::filters {
namespace {

using inplace_abn::Moments;
using torch::headeronly::BFloat16;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

bool is_channels_last(const Tensor& weight) {
  return weight.dim() == 4 && !weight.is_contiguous() && weight.stride(1) == 1 && weight.stride(3) == weight.size(1) &&
      weight.stride(2) == weight.size(1) * weight.size(3) &&
      weight.stride(0) == weight.size(1) * weight.size(2) * weight.size(3);
}

// Checks that each filter is one run in memory.
void check_weight(const Tensor& weight, const char* op) {
  check(weight.dim() >= 2 && weight.numel() > 0, op, "the weight must have filters with at least one number");
  check(weight.scalar_type() == ScalarType::Float, op, "the weight must be float32");
  check(weight.is_contiguous() || is_channels_last(weight), op, "the weight must be contiguous or channels last");
}

// Returns a tensor with the shape and the memory format of the weight.
Tensor empty_like(const Tensor& weight, ScalarType type) {
  if (is_channels_last(weight)) {
    const std::vector<int64_t> rows{weight.size(0), weight.size(2), weight.size(3), weight.size(1)};
    return torch::stable::permute(torch::stable::new_empty(weight, rows, type), {0, 3, 1, 2});
  }
  return torch::stable::new_empty(weight, weight.sizes(), type);
}

// Calls use(filter, offset) for all filters.
template <typename Use>
void for_filters(const Tensor& weight, const Use& use) {
  const int64_t num = weight.numel() / weight.size(0);
  inplace_abn::in_parallel(weight.size(0), num, [&](int64_t begin, int64_t end) {
    for (int64_t filter = begin; filter < end; ++filter) {
      use(filter, filter * num);
    }
  });
}

template <typename T>
void standardize(const Tensor& weight, const Tensor& filters, const Tensor& statistics, double eps) {
  const auto& moments_of = inplace_abn::kernels<float>()[0].run_moments;
  const auto& kernel = inplace_abn::kernels<T>()[0].filter_standardize;
  const int64_t num = weight.numel() / weight.size(0);
  const auto* from = pointer<float>(weight);
  auto* to = mutable_pointer<T>(filters);
  auto* constants = mutable_pointer<float>(statistics);
  for_filters(weight, [&](int64_t filter, int64_t offset) {
    Moments moments;
    moments_of(from + offset, {num, 1, num}, moments);
    const auto mean = static_cast<float>(moments.mean);
    const auto factor = static_cast<float>(1 / std::sqrt(moments.variance() + eps));
    constants[2 * filter] = mean;
    constants[2 * filter + 1] = factor;
    kernel(from + offset, to + offset, num, mean, factor);
  });
}

template <typename T>
void gradient(const Tensor& weight, const Tensor& dfilters, const Tensor& statistics, const Tensor& dweight) {
  const auto& kernel = inplace_abn::kernels<T>()[0].filter_gradient;
  const int64_t num = weight.numel() / weight.size(0);
  const auto* from = pointer<float>(weight);
  const auto* upstream = pointer<T>(dfilters);
  const auto* constants = pointer<float>(statistics);
  auto* to = mutable_pointer<float>(dweight);
  for_filters(weight, [&](int64_t filter, int64_t offset) {
    kernel(
        from + offset, upstream + offset, to + offset, num, constants[2 * filter], constants[2 * filter + 1]);
  });
}

std::tuple<Tensor, Tensor> standardize_filters(Tensor weight, bool in_bfloat16, double eps) {
  check_weight(weight, "standardize_filters");
  const Tensor filters = empty_like(weight, in_bfloat16 ? ScalarType::BFloat16 : ScalarType::Float);
  const Tensor statistics = torch::stable::new_empty(weight, {weight.size(0), 2});
  if (in_bfloat16) {
    standardize<BFloat16>(weight, filters, statistics, eps);
  } else {
    standardize<float>(weight, filters, statistics, eps);
  }
  return {filters, statistics};
}

Tensor standardize_filters_gradient(Tensor weight, Tensor dfilters, Tensor statistics) {
  constexpr auto* op = "standardize_filters_gradient";
  check_weight(weight, op);
  const ScalarType type = dfilters.scalar_type();
  check(
      dfilters.sizes().equals(weight.sizes()) && (type == ScalarType::Float || type == ScalarType::BFloat16), op,
      "the gradient must have the shape of the weight and be float32 or bfloat16");
  check(
      statistics.dim() == 2 && statistics.is_contiguous() && statistics.size(0) == weight.size(0) &&
          statistics.size(1) == 2 && statistics.scalar_type() == ScalarType::Float,
      op, "the statistics must be two float32 numbers per filter");
  const Tensor upstream = torch::stable::contiguous(
      dfilters, is_channels_last(weight) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  Tensor dweight = empty_like(weight, ScalarType::Float);
  if (type == ScalarType::Float) {
    gradient<float>(weight, upstream, statistics, dweight);
  } else {
    gradient<BFloat16>(weight, upstream, statistics, dweight);
  }
  return dweight;
}

} // namespace
} // namespace seamseg::filters

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("standardize_filters", TORCH_BOX(&seamseg::filters::standardize_filters));
  library.impl("standardize_filters_gradient", TORCH_BOX(&seamseg::filters::standardize_filters_gradient));
}
