// Argument checks of the operators.

#pragma once

#include <stdexcept>
#include <string>

namespace seamseg {

// Throws if a condition does not hold. seamseg/ops/native.py turns messages that start with the operator's name into a
// ValueError.
inline void check(bool holds, const char* op, const char* message) {
  if (!holds) {
    throw std::invalid_argument(std::string(op) + ": " + message);
  }
}

} // namespace seamseg
