// CUDA's names for float16.

#pragma once

#include <cuda_runtime.h>

struct __half {
  _Float16 value;
};

inline float __half2float(__half number) { return static_cast<float>(number.value); }
inline __half __float2half_rn(float number) { return {static_cast<_Float16>(number)}; }
