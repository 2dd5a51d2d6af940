// CUDA's names for bfloat16.

#pragma once

#include <cmath>

#include <cuda_runtime.h>

struct __nv_bfloat16 {
  uint16_t bits; // the upper half of a float's bits
};

inline float __bfloat162float(__nv_bfloat16 number) {
  const uint32_t bits = static_cast<uint32_t>(number.bits) << 16;
  float result = 0;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

inline __nv_bfloat16 __float2bfloat16_rn(float number) {
  uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  if (std::isnan(number)) {
    return {0x7fff};
  }
  const uint32_t to_even = 0x7fff + ((bits >> 16) & 1);
  return {static_cast<uint16_t>((bits + to_even) >> 16)};
}
