// The CPU kernels for processors with AVX2; chosen at run time, so the rest of the library runs without.

#include <algorithm>
#include <limits>
#include <vector>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "kernels_cpu.h"

#ifdef __x86_64__

#include <immintrin.h>

// All headers are included by now: only the kernels are compiled for this instruction set.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define __F16C__ 1
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define SEAMSEG_INSTRUCTION_SET avx2
#include "kernels_cpu.inl"
#ifdef __clang__
#pragma clang attribute pop
#endif

#endif

namespace seamseg::inplace_abn {

template <typename T>
const Kernels<T>* avx2_kernels() {
#ifdef __x86_64__
  return avx2::kernels<T>;
#else
  return nullptr;
#endif
}

template const Kernels<float>* avx2_kernels();
template const Kernels<double>* avx2_kernels();
template const Kernels<torch::headeronly::BFloat16>* avx2_kernels();
template const Kernels<torch::headeronly::Half>* avx2_kernels();

} // namespace seamseg::inplace_abn
