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

// Inlined everywhere: vectors are returned in registers only by functions compiled for their instruction set.
#define SEAMSEG_INLINE inline __attribute__((always_inline))

namespace seamseg::inplace_abn {

// As seamseg/ops/inplace_abn.py passes them.
enum class Activation : int64_t { identity = 0, leaky_relu = 1, elu = 2 };

constexpr int64_t num_activations = 3;

// What a saturated ELU (an output that was rounded to -alpha) is taken for, divided by alpha: the middle of the numbers
// that round to it in a type of so many bits, but no nearer to -1 than the type that is computed in can tell.
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
  A slope;         // of the leaky ReLU, or alpha of the ELU; > 0
  A inverse_slope; // 1 / slope
  A saturation = elu_saturation<A>(std::numeric_limits<A>::digits);

  // Leaky ReLU and identity take vectors of numbers, too.
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
      // Below the saturation it would be -infinity.
      const A ratio = z * inverse_slope;
      return z > 0 ? z : std::log1p(ratio > saturation ? ratio : saturation);
    } else {
      return z;
    }
  }

  // The gradient before the activation from the one behind it, dz.
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
