// Instruction set of the CPU kernels in this process.

#pragma once

namespace seamseg {

// Each capability includes the previous ones.
enum class Capability { baseline, avx2, avx512, avx512_bf16 };

// Returns the widest instruction set that this machine supports. The environment variable SEAMSEG_CPU_CAPABILITY can
// lower it, so tests can run every binary.
Capability cpu_capability();

const char* name_of(Capability capability);

} // namespace seamseg
