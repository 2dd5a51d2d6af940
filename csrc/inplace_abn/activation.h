// Each activation, its inverse and its derivative, for one number; the derivative is written in terms of the output z,
// which is all that is kept for the backward pass. Shared by the CPU kernels, the CUDA kernels and their host harness.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#if defined(__CUDACC__)
#define SEAMSEG_HOST_DEVICE __host__ __device__
#else
#define SEAMSEG_HOST_DEVICE
#endif

namespace seamseg::inplace_abn {

// As seamseg/ops/inplace_abn.py passes them.
enum class Activation : int64_t { identity = 0, leaky_relu = 1, elu = 2 };

constexpr int64_t num_activations = 3;

template <typename A, Activation kind>
struct ActivationOf {
  A slope;         // of the leaky ReLU, or alpha of the ELU; > 0
  A inverse_slope; // 1 / slope

  SEAMSEG_HOST_DEVICE inline A apply(A y) const {
    if constexpr (kind == Activation::leaky_relu) {
      return y > A(0) ? y : y * slope;
    } else if constexpr (kind == Activation::elu) {
      return y > A(0) ? y : slope * std::expm1(y);
    } else {
      return y;
    }
  }

  SEAMSEG_HOST_DEVICE inline A invert(A z) const {
    if constexpr (kind == Activation::leaky_relu) {
      return z > A(0) ? z : z * inverse_slope;
    } else if constexpr (kind == Activation::elu) {
      // Saturated outputs would give -infinity where the gradient is 0 anyway.
      const A lowest = A(-1) + std::numeric_limits<A>::epsilon();
      const A ratio = z * inverse_slope;
      return z > A(0) ? z : std::log1p(ratio > lowest ? ratio : lowest);
    } else {
      return z;
    }
  }

  SEAMSEG_HOST_DEVICE inline A derivative(A z) const {
    if constexpr (kind == Activation::leaky_relu) {
      return z > A(0) ? A(1) : slope;
    } else if constexpr (kind == Activation::elu) {
      return z > A(0) ? A(1) : z + slope;
    } else {
      return A(1);
    }
  }
};

} // namespace seamseg::inplace_abn
