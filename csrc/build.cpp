// Operators that report how this library was built and which instruction set it uses.

#include <string>

#include <torch/csrc/stable/library.h>

#include "cpu_capability.h"

// Set by setup.py, for example to 9.0,12.0+PTX. The value has no quotes, because compilers, ninja and shells each treat
// them differently.
#ifndef SEAMSEG_CUDA_ARCHITECTURES
#define SEAMSEG_CUDA_ARCHITECTURES
#endif

#define SEAMSEG_TEXT_OF(...) #__VA_ARGS__
#define SEAMSEG_TEXT(...) SEAMSEG_TEXT_OF(__VA_ARGS__)

namespace seamseg {
namespace {

std::string cuda_architectures() { return SEAMSEG_TEXT(SEAMSEG_CUDA_ARCHITECTURES); }

std::string name_of_cpu_capability() { return name_of(cpu_capability()); }

} // namespace
} // namespace seamseg

STABLE_TORCH_LIBRARY_IMPL(seamseg, CompositeExplicitAutograd, library) {
  library.impl("cuda_architectures", TORCH_BOX(&seamseg::cuda_architectures));
  library.impl("cpu_capability", TORCH_BOX(&seamseg::name_of_cpu_capability));
}
