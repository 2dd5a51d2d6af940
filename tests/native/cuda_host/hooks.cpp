// The functions that code compiled with -fsanitize=thread,alignment,bounds calls at memory accesses. They replace the
// sanitizers' own libraries.

#include "hooks.h"

#include <cstdint>

using cuda_host::access;
using cuda_host::fail_in_kernel;
using cuda_host::Kind;

extern "C" {

#define ACCESSES(bytes)                                                        \
  void __tsan_read##bytes(void* p) { access(p, bytes, Kind::read); }           \
  void __tsan_write##bytes(void* p) { access(p, bytes, Kind::write); }         \
  void __tsan_unaligned_read##bytes(void* p) { access(p, bytes, Kind::read); } \
  void __tsan_unaligned_write##bytes(void* p) { access(p, bytes, Kind::write); }

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* p, size_t bytes) { access(p, bytes, Kind::read); }
void __tsan_write_range(void* p, size_t bytes) { access(p, bytes, Kind::write); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void __ubsan_handle_type_mismatch_v1_abort(void*, uintptr_t) { fail_in_kernel("a misaligned or null address"); }
void __ubsan_handle_out_of_bounds_abort(void*, uintptr_t) { fail_in_kernel("an index past the end of an array"); }
}
