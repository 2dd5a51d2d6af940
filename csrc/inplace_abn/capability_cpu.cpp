// Which instruction set the CPU kernels of this process use.

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "kernels_cpu.h"

namespace seamseg::inplace_abn {
namespace {

enum class Capability { baseline, avx2, avx512 };

Capability best_capability() {
#ifdef __x86_64__
  __builtin_cpu_init();
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return has_avx2 && has_avx512 ? Capability::avx512 : has_avx2 ? Capability::avx2 : Capability::baseline;
#else
  return Capability::baseline;
#endif
}

// The widest vectors of this machine, or fewer by the environment, so that tests reach every binary.
Capability capability() {
  static const Capability chosen = [] {
    const char* wanted = std::getenv("SEAMSEG_CPU_CAPABILITY");
    const std::string name = wanted == nullptr ? "avx512" : wanted;
    if (name != "baseline" && name != "avx2" && name != "avx512") {
      throw std::runtime_error("SEAMSEG_CPU_CAPABILITY must be baseline, avx2 or avx512, not " + name);
    }
    const Capability limit = name == "baseline" ? Capability::baseline
        : name == "avx2"                        ? Capability::avx2
                                                : Capability::avx512;
    return std::min(limit, best_capability());
  }();
  return chosen;
}

std::string cpu_capability() {
  switch (capability()) {
    case Capability::avx512:
      return "avx512";
    case Capability::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

} // namespace

template <typename T>
const Kernels<T>* kernels() {
#ifdef __x86_64__
  if (capability() == Capability::avx512) {
    return avx512::all_kernels<T>();
  }
  if (capability() == Capability::avx2) {
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

STABLE_TORCH_LIBRARY_IMPL(seamseg, CompositeExplicitAutograd, library) {
  library.impl("cpu_capability", TORCH_BOX(&seamseg::inplace_abn::cpu_capability));
}
