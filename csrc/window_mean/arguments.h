// Argument checks, memory layouts and windows shared by all backends.

#pragma once

#include <cstdint>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include "../check.h"
#include "../tensors.h"
#include "windows.h"

namespace seamseg::window_mean {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// An input in its memory format, channels last or contiguous, and its axes as dense memory.
struct Input {
  Tensor x;
  Axis columns, rows; // within a row, and across the rows

  Input(const Tensor& given, int64_t window, const char* op) : x(dense(given, window, op)) {
    const bool channels_last = !x.is_contiguous();
    const int64_t planes = channels_last ? x.size(0) : x.size(0) * x.size(1);
    const int64_t inner = channels_last ? x.size(1) : 1;
    columns = {planes * x.size(2), x.size(3), inner};
    rows = {planes, x.size(2), x.size(3) * inner};
  }

 private:
  static Tensor dense(const Tensor& given, int64_t window, const char* op) {
    using torch::headeronly::MemoryFormat;
    check(given.dim() == 4, op, "the input must have the shape N x C x H x W");
    check(window > 0, op, "the window must be positive");
    const ScalarType type = given.scalar_type();
    check(
        type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
            type == ScalarType::Half,
        op, "the input must be float32, float64, bfloat16 or float16");
    const bool channels_last = !given.is_contiguous() && given.stride(1) == 1;
    return torch::stable::contiguous(given, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  }
};

// Returns memory for the sums along one axis, in the compute type of the input.
inline Tensor memory_for_sums(const Tensor& x) {
  const bool is_double = x.scalar_type() == ScalarType::Double;
  return torch::stable::new_empty(x, {x.numel()}, is_double ? ScalarType::Double : ScalarType::Float);
}

} // namespace seamseg::window_mean
