// Which instruction set the CPU kernels of this process use.

#pragma once

namespace seamseg {

// Each has the ones before it.
enum class Capability { baseline, avx2, avx512, avx512_bf16 };

// The widest vectors of this machine, or fewer by SEAMSEG_CPU_CAPABILITY in the environment, so that tests reach every
// binary.
Capability cpu_capability();

const char* name_of(Capability capability);

} // namespace seamseg
