// The CPU kernels for any processor the compiler builds for by default.

#include <algorithm>
#include <limits>
#include <vector>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "kernels_cpu.h"

#define SEAMSEG_INSTRUCTION_SET baseline
#include "kernels_cpu.inl"

namespace seamseg::inplace_abn {

template <typename T>
const Kernels<T>* baseline_kernels() {
  return baseline::kernels<T>;
}

template const Kernels<float>* baseline_kernels();
template const Kernels<double>* baseline_kernels();
template const Kernels<torch::headeronly::BFloat16>* baseline_kernels();
template const Kernels<torch::headeronly::Half>* baseline_kernels();

} // namespace seamseg::inplace_abn
