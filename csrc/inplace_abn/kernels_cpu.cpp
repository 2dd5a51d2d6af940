// Chooses the kernels for this machine.

#include "kernels_cpu.h"

#include <type_traits>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "../cpu_capability.h"

namespace seamseg::inplace_abn {

template <typename T>
const Kernels<T>* kernels() {
#ifdef __x86_64__
  if constexpr (std::is_same_v<T, torch::headeronly::BFloat16>) {
    if (cpu_capability() == Capability::avx512_bf16) {
      return avx512_bf16::all_kernels<T>();
    }
  }
  if (cpu_capability() >= Capability::avx512) {
    return avx512::all_kernels<T>();
  }
  if (cpu_capability() == Capability::avx2) {
    return avx2::all_kernels<T>();
  }
#endif
  return baseline::all_kernels<T>();
}

template const Kernels<float>* kernels();
template const Kernels<double>* kernels();
template const Kernels<torch::headeronly::BFloat16>* kernels();
template const Kernels<torch::headeronly::Half>* kernels();

} // namespace seamseg::inplace_abn
