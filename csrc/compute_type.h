// Precision of the CPU kernels.

#pragma once

#include <type_traits>

namespace seamseg {

// Compute type of a storage type.
template <typename T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

} // namespace seamseg
