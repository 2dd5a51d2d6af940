// CUDA kernels that sample features of regions from the levels of a pyramid, and their gradient, with their launches.
// This is plain CUDA C++ that does not depend on PyTorch. nvcc compiles it for GPUs. The tests compile it for the CPU,
// where a harness runs every thread of every block.

#pragma once

#include <algorithm>
#include <cstdint>

#include "../items_cuda.h"
#include "sampling.h"

namespace seamseg::roi_align::cuda {

constexpr int64_t most_levels = 8;
constexpr int64_t largest_region = 1 << 30; // maximum number of features of a region
constexpr int64_t features_of_thread = 4;
constexpr int64_t most_blocks_of_region = 1 << 12;

// Levels with pixels of type N, all in the same layout.
template <typename N>
struct Levels {
  N* values[most_levels];
  int32_t heights[most_levels], widths[most_levels];
  int64_t num, images, channels;
  bool channels_last;
};

// Regions and their features, which have the layout of the levels.
struct Regions {
  const float* boxes; // y0, x0, y1, x1
  const int64_t* images;
  const int64_t* levels;
  int64_t num, size;
};

// The four pixels around a sample, in one channel.
template <typename N>
struct Sample {
  N* channel; // at the first pixel
  int64_t row_step, column_step;
  Tap row, column;

  __device__ bool is_inside() const { return row.is_inside() && column.is_inside(); }

  __device__ N* at(int32_t y, int32_t x) const { return channel + y * row_step + x * column_step; }

  __device__ float read() const {
    const auto line = [&](int32_t y) {
      return column.low_weight * to_float(*at(y, column.low)) + column.high_weight * to_float(*at(y, column.high));
    };
    return row.low_weight * line(row.low) + row.high_weight * line(row.high);
  }

  __device__ void add(float value) const {
    add(row.low, column.low, row.low_weight * column.low_weight, value);
    add(row.low, column.high, row.low_weight * column.high_weight, value);
    add(row.high, column.low, row.high_weight * column.low_weight, value);
    add(row.high, column.high, row.high_weight * column.high_weight, value);
  }

 private:
  __device__ void add(int32_t y, int32_t x, float weight, float value) const {
    if (weight != 0) {
      atomicAdd(at(y, x), weight * value);
    }
  }
};

// Calls use(place, sample) for the features of this thread. blockIdx.x is the region. Consecutive threads have
// consecutive features in memory: bins of a channel, or channels of a bin in the layout channels last.
template <typename N, typename Use>
__device__ inline void for_samples(const Levels<N>& levels, const Regions& regions, const Use& use) {
  const int64_t region = blockIdx.x;
  const int64_t level = regions.levels[region], image = regions.images[region];
  assert(image >= 0 && image < levels.images && "multilevel_roi_align: there is no image with the index of a region");
  assert(level >= 0 && level < levels.num && "multilevel_roi_align: there is no level with the index of a region");
  const int64_t height = levels.heights[level], width = levels.widths[level];
  assert(height > 0 && width > 0 && "multilevel_roi_align: the level of a region has no pixels");
  const float* box = regions.boxes + 4 * region;
  N* pixels = levels.values[level] + image * levels.channels * height * width;
  const int64_t channel_step = levels.channels_last ? 1 : height * width;
  const int64_t column_step = levels.channels_last ? levels.channels : 1;
  const auto size = static_cast<uint32_t>(regions.size), channels = static_cast<uint32_t>(levels.channels);
  const uint32_t bins = size * size, num = channels * bins;
  for (uint32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < num; i += gridDim.y * blockDim.x) {
    const uint32_t bin = levels.channels_last ? i / channels : i % bins;
    const uint32_t channel = levels.channels_last ? i % channels : i / bins;
    const Tap row = bin_tap(box[0], box[2], bin / size, size, height);
    const Tap column = bin_tap(box[1], box[3], bin % size, size, width);
    use(region * num + i, Sample<N>{pixels + channel * channel_step, width * column_step, column_step, row, column});
  }
}

template <typename T>
__global__ void __launch_bounds__(block_threads) sample(Levels<const T> levels, Regions regions, T* features) {
  for_samples(levels, regions, [&](int64_t place, const Sample<const T>& sample) {
    features[place] = from_float<T>(sample.is_inside() ? sample.read() : 0);
  });
}

// Adds to the gradients of the levels, in any order.
template <typename T>
__global__ void __launch_bounds__(block_threads) spread(const T* gradient, Levels<float> levels, Regions regions) {
  for_samples(levels, regions, [&](int64_t place, const Sample<float>& sample) {
    if (sample.is_inside()) {
      sample.add(to_float(gradient[place]));
    }
  });
}

// ---- launches -------------------------------------------------------------------------------------------------------

// There must be a region, with at least one and at most `largest_region` features.
inline dim3 grid_of(const Regions& regions, int64_t channels) {
  const int64_t features_of_block = block_threads * features_of_thread;
  const int64_t blocks = (channels * regions.size * regions.size + features_of_block - 1) / features_of_block;
  return dim3(static_cast<unsigned>(regions.num), static_cast<unsigned>(std::min(blocks, most_blocks_of_region)));
}

template <typename T, typename Launch>
void launch_sample(const Launch& launch, const Levels<const T>& levels, const Regions& regions, T* features) {
  launch(&sample<T>, grid_of(regions, levels.channels), dim3(block_threads), levels, regions, features);
}

// The gradients of the levels must be 0 before.
template <typename T, typename Launch>
void launch_spread(const Launch& launch, const T* gradient, const Levels<float>& levels, const Regions& regions) {
  launch(&spread<T>, grid_of(regions, levels.channels), dim3(block_threads), gradient, levels, regions);
}

} // namespace seamseg::roi_align::cuda
