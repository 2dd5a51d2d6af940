// Marks functions that CPU and CUDA kernels share.

#pragma once

#if defined(__CUDACC__)
#define SEAMSEG_HOST_DEVICE __host__ __device__
#else
#define SEAMSEG_HOST_DEVICE
#endif
