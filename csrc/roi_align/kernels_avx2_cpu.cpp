// CPU kernels for processors with AVX2. They are chosen at run time, so the rest of the library runs without AVX2.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "kernels_cpu.h"

#ifdef __x86_64__

#include <immintrin.h>

// All headers are already included, so only the kernels are compiled for this instruction set.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define SEAMSEG_INSTRUCTION_SET avx2
#define SEAMSEG_VECTOR_BYTES 32
#include "kernels_cpu.inl"
#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
