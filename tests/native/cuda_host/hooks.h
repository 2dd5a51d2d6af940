// What the compiler's hooks report to what runs the kernels.

#pragma once

#include <cstddef>

namespace cuda_host {

enum class Kind { read, write, atomic };

// Ends the launch if the access is not allowed; so does fail_in_kernel. Both do nothing outside of kernels.
void access(const void* pointer, size_t bytes, Kind kind);
void fail_in_kernel(const char* what);

} // namespace cuda_host
