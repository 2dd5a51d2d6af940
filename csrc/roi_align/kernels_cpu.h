// Kernels of the CPU operators, compiled once per instruction set and chosen at run time. A kernel processes some
// channels of one region in one thread.

#pragma once

#include <cstdint>

#include "../compute_type.h"
#include "sampling.h"

namespace seamseg::roi_align {

// Extent of one image of a level.
struct Extents {
  int64_t height;
  int64_t width;
  int64_t channels;
};

// Samples of a region: the positions of `size` rows and `size` columns.
struct Grid {
  const Tap* rows;
  const Tap* columns;
  int64_t size;
};

// Kernels of a storage type. Features of regions and levels both have the layout in the kernel's name:
//   planes:  contiguous; one plane per channel
//   pixels:  channels last; one row of channels per pixel
// Pointers point to the first of `num` channels. Gradients of levels are accumulated in float32. `scratch` has room for
// scratch_size() numbers.
template <typename T>
struct Kernels {
  void (*sample_planes)(const T* level, Extents extents, Grid grid, int64_t num, T* features, float* scratch);
  void (*sample_pixels)(const T* level, Extents extents, Grid grid, int64_t num, T* features);
  void (*spread_planes)(const T* gradient, Extents extents, Grid grid, int64_t num, float* level, float* scratch);
  void (*spread_pixels)(const T* gradient, Extents extents, Grid grid, int64_t num, float* level);
};

constexpr int64_t strip_lanes = 16;
// Maximum number of bins that are processed at once. The lane after them is zero.
constexpr int64_t strip_bins = strip_lanes - 1;

// Room for one row of a level, and the contributions of all bins of a strip to it.
inline int64_t scratch_size(int64_t width) { return (1 + 4 * strip_lanes) * (width + 2 * strip_lanes); }

// One namespace per instruction set. The x86 ones exist only on x86.
namespace baseline {
template <typename T>
Kernels<T> kernels();
} // namespace baseline
namespace avx2 {
template <typename T>
Kernels<T> kernels();
} // namespace avx2
namespace avx512 {
template <typename T>
Kernels<T> kernels();
} // namespace avx512

} // namespace seamseg::roi_align
