// What this build of the library contains, and what of it this machine uses.

#include <string>

#include <torch/csrc/stable/library.h>

#include "cpu_capability.h"

// As setup.py passes it, for example 9.0,12.0+PTX: no quotes, which compilers, ninja and shells each treat their own
// way.
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
