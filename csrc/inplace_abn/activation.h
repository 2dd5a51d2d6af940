// Each activation, its inverse and its derivative, for one number. The derivative is computed from the output z,
// because the backward pass keeps only z. Shared by the CPU kernels, the CUDA kernels and the tests' host harness.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "../host_device.h"

// Always inlined, because only functions compiled for a vector instruction set return its vectors in registers.
#define SEAMSEG_INLINE inline __attribute__((always_inline))

namespace seamseg::inplace_abn {

// The values that seamseg/ops/inplace_abn.py passes.
enum class Activation : int64_t { identity = 0, leaky_relu = 1, elu = 2 };

constexpr int64_t num_activations = 3;

// Replacement for the output of a saturated ELU, one that was rounded to -alpha, divided by alpha. It is the midpoint
// of the numbers that round to -1 in a type with `bits` bits of precision, but at least one epsilon of the compute type
// away from -1.
template <typename A>
SEAMSEG_HOST_DEVICE constexpr A elu_saturation(int bits) {
  A distance = A(0.25);
  for (int bit = 0; bit < bits; ++bit) {
    distance /= 2;
  }
  return A(-1) + (distance > std::numeric_limits<A>::epsilon() ? distance : std::numeric_limits<A>::epsilon());
}

template <typename A, Activation kind>
struct ActivationOf {
  A slope;         // slope of the leaky ReLU, or alpha of the ELU; > 0
  A inverse_slope; // 1 / slope
  A saturation = elu_saturation<A>(std::numeric_limits<A>::digits);

  // The leaky ReLU and the identity also accept vectors of numbers.
  template <typename N>
  SEAMSEG_HOST_DEVICE SEAMSEG_INLINE N apply(N y) const {
    if constexpr (kind == Activation::leaky_relu) {
      return y > 0 ? y : y * slope;
    } else if constexpr (kind == Activation::elu) {
      return y > 0 ? y : slope * std::expm1(y);
    } else {
      return y;
    }
  }

  template <typename N>
  SEAMSEG_HOST_DEVICE SEAMSEG_INLINE N invert(N z) const {
    if constexpr (kind == Activation::leaky_relu) {
      return z > 0 ? z : z * inverse_slope;
    } else if constexpr (kind == Activation::elu) {
      // Clamped at the saturation, because log1p(-1) is -infinity.
      const A ratio = z * inverse_slope;
      return z > 0 ? z : std::log1p(ratio > saturation ? ratio : saturation);
    } else {
      return z;
    }
  }

  // Returns the gradient of the activation's input, given dz, the gradient of its output z.
  template <typename N>
  SEAMSEG_HOST_DEVICE SEAMSEG_INLINE N derive(N dz, N z) const {
    if constexpr (kind == Activation::leaky_relu) {
      return z > 0 ? dz : dz * slope;
    } else if constexpr (kind == Activation::elu) {
      return z > 0 ? dz : dz * (z + slope);
    } else {
      return dz;
    }
  }
};

} // namespace seamseg::inplace_abn
