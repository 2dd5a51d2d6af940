// A thread of a block, and the meeting point of the threads of a warp.

#pragma once

#include <ucontext.h>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace cuda_host {

constexpr size_t stack_bytes = size_t{1} << 16;

// Threads that arrived at the same warp function. `round` counts how often all of them arrived.
struct Meeting {
  static constexpr int warp_size = 32;

  unsigned mask;
  const char* function;
  int arrived = 0;
  unsigned round = 0;
  // Of even and odd rounds, because the last round is still read when the next one starts.
  uint64_t bits[2][warp_size] = {};
};

struct Fiber {
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  ucontext_t context{};
  jmp_buf resume{};
  bool started = false;
  bool finished = false;
  const unsigned* awaited = nullptr; // a counter; the thread waits until it changes
  unsigned seen = 0;
  const char* waits_in = "";

  bool contains(uintptr_t address) const { return address - reinterpret_cast<uintptr_t>(stack.get()) < stack_bytes; }
};

} // namespace cuda_host
