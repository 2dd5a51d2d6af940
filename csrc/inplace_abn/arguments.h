// Argument checks shared by all backends. Error messages start with the operator's name, which seamseg/ops/native.py
// turns into a ValueError.

#pragma once

#include <cstdint>
#include <optional>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "../check.h"
#include "../tensors.h"
#include "activation.h"

namespace seamseg::inplace_abn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Memory layout of the samples of a channel.
//   planar:      outer x channels planes of inner samples, contiguous
//   interleaved: outer x inner rows of channels, contiguous (channels last)
struct Shape {
  int64_t outer;    // N
  int64_t channels; // C
  int64_t inner;    // product of the spatial sizes
  bool interleaved;

  int64_t num_samples() const { return outer * inner; } // per channel
  int64_t numel() const { return num_samples() * channels; }
};

// Checks for the strides of the interleaved layout, in which dim 1 is the innermost. A dimension of size 1 may have any
// stride.
inline bool is_interleaved(const Tensor& x) {
  int64_t expected = 1;
  if (x.size(1) != 1 && x.stride(1) != 1) {
    return false;
  }
  expected = x.size(1);
  for (int64_t dim = x.dim() - 1; dim >= 0; --dim) {
    if (dim == 1) {
      continue;
    }
    if (x.size(dim) != 1 && x.stride(dim) != expected) {
      return false;
    }
    expected *= x.size(dim);
  }
  return true;
}

inline Shape shape_of(const Tensor& x, const char* op) {
  check(x.dim() >= 2, op, "the input must have at least two dimensions: samples and channels");
  const ScalarType type = x.scalar_type();
  check(
      type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
          type == ScalarType::Half,
      op, "the input must be float32, float64, bfloat16 or float16");
  int64_t inner = 1;
  for (int64_t dim = 2; dim < x.dim(); ++dim) {
    inner *= x.size(dim);
  }
  const bool planar = x.is_contiguous();
  check(planar || x.numel() == 0 || is_interleaved(x), op, "the input must be contiguous or channels last");
  // Inputs with inner = 1 fit both layouts. Their samples are one row apart, so they count as interleaved.
  return {x.size(0), x.size(1), inner, !planar || inner == 1};
}

// Checks that another full-size argument has the memory layout of the first.
inline void check_like(const Tensor& other, const Tensor& x, const char* op, const char* message) {
  bool same = other.dim() == x.dim() && other.scalar_type() == x.scalar_type() && other.is_cuda() == x.is_cuda() &&
      other.get_device_index() == x.get_device_index();
  for (int64_t dim = 0; same && dim < x.dim(); ++dim) {
    same = other.size(dim) == x.size(dim) && (x.size(dim) == 1 || other.stride(dim) == x.stride(dim));
  }
  check(same || (x.numel() == 0 && other.numel() == 0), op, message);
}

inline ScalarType accumulate_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Checks a contiguous vector of one number per channel in the compute type, or a matrix with several such rows.
inline void check_per_channel(
    const Tensor& values, const Tensor& x, int64_t rows, const char* op, const char* message) {
  const int64_t channels = x.size(1);
  const bool fits = rows == 1 ? values.dim() == 1 && values.size(0) == channels
                              : values.dim() == 2 && values.size(0) == rows && values.size(1) == channels;
  check(
      fits && values.is_contiguous() && values.scalar_type() == accumulate_type(x) && values.is_cuda() == x.is_cuda() &&
          values.get_device_index() == x.get_device_index(),
      op, message);
}

// Checks the constants of one layer, which all operators take.
inline void check_affine(const Tensor& gamma, const Tensor& beta, const Tensor& x, int64_t activation, const char* op) {
  constexpr auto* message =
      "gamma and beta must have one number per channel, contiguous, on the input's device, in float32 (float64 for "
      "a float64 input)";
  check_per_channel(gamma, x, 1, op, message);
  check_per_channel(beta, x, 1, op, message);
  check(activation >= 0 && activation < num_activations, op, "unknown activation");
}

inline void check_moments(const Tensor& moments, const Tensor& x, const char* op) {
  check_per_channel(moments, x, 2, op, "the moments must be two numbers per channel, in the type of gamma");
}

inline void check_forward(
    const Tensor& x, const OptionalTensor& residual, const Tensor& gamma, const Tensor& beta, int64_t activation,
    const char* op) {
  shape_of(x, op);
  check_affine(gamma, beta, x, activation, op);
  if (residual.has_value()) {
    check_like(*residual, x, op, "the residual must have the input's type, device, shape and memory layout");
  }
}

inline void check_backward(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& gamma, const Tensor& beta,
    int64_t activation, const char* op) {
  check_forward(z, residual, gamma, beta, activation, op);
  check_like(dz, z, op, "the gradient must have the output's type, device, shape and memory layout");
}

inline Tensor two_per_channel(const Tensor& x) {
  return torch::stable::new_empty(x, {2, x.size(1)}, accumulate_type(x));
}

} // namespace seamseg::inplace_abn
