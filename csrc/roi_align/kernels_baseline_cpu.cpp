// CPU kernels for the compiler's default target processor.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "kernels_cpu.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define SEAMSEG_INSTRUCTION_SET baseline
#define SEAMSEG_VECTOR_BYTES 16
#include "kernels_cpu.inl"
