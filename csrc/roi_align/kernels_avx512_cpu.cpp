// CPU kernels for processors with AVX-512. They are chosen at run time, so the rest of the library runs without
// AVX-512.

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
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#endif
#define SEAMSEG_INSTRUCTION_SET avx512
#define SEAMSEG_VECTOR_BYTES 64
#define SEAMSEG_MASKED_VECTORS
#include "kernels_cpu.inl"
#ifdef __clang__
#pragma clang attribute pop
#endif

#endif
