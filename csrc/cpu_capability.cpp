// Detects the instruction set of the CPU kernels once.

#include "cpu_capability.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>

namespace seamseg {
namespace {

constexpr const char* names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};

Capability best_capability() {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) {
    return Capability::baseline;
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return Capability::avx2;
  }
  return __builtin_cpu_supports("avx512bf16") ? Capability::avx512_bf16 : Capability::avx512;
#else
  return Capability::baseline;
#endif
}

Capability named(const std::string& name) {
  const auto* found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) {
    throw std::runtime_error("SEAMSEG_CPU_CAPABILITY must be baseline, avx2, avx512 or avx512_bf16, not " + name);
  }
  return static_cast<Capability>(found - names);
}

} // namespace

Capability cpu_capability() {
  static const Capability chosen = [] {
    const char* wanted = std::getenv("SEAMSEG_CPU_CAPABILITY");
    return wanted == nullptr ? best_capability() : std::min(named(wanted), best_capability());
  }();
  return chosen;
}

const char* name_of(Capability capability) { return names[static_cast<int>(capability)]; }

} // namespace seamseg
