// Reports from the compiler's hooks to the code that runs the kernels.

#pragma once

#include <cstddef>

namespace cuda_host {

enum class Kind { read, write, atomic };

// Ends the launch if the access is not allowed. fail_in_kernel always ends it. Both do nothing outside kernels.
void access(const void* pointer, size_t bytes, Kind kind);
void fail_in_kernel(const char* what);

} // namespace cuda_host
