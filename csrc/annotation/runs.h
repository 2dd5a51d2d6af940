// Id maps are long runs of equal ids; what their operators share.

#pragma once

#include <cstdint>
#include <stdexcept>

namespace seamseg::annotation {

// Throws what seamseg/ops/native.py turns into a ValueError; messages start with the operator's name.
inline void check(bool holds, const char* message) {
  if (!holds) {
    throw std::invalid_argument(message);
  }
}

// Where the run of equal ids that starts at x ends. Blocks are compared as a whole, which compilers vectorize.
template <typename Id>
int64_t run_end(const Id* row, int64_t x, int64_t width) {
  constexpr int64_t block = 16;
  const Id id = row[x];
  for (++x; x + block <= width; x += block) {
    Id different = 0;
    for (int64_t i = 0; i < block; ++i) {
      different |= row[x + i] ^ id;
    }
    if (different != 0) {
      break;
    }
  }
  while (x < width && row[x] == id) {
    ++x;
  }
  return x;
}

} // namespace seamseg::annotation
