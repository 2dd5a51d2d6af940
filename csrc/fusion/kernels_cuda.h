// CUDA kernels of the fusion and their launches. This is plain CUDA C++ that does not depend on PyTorch. nvcc compiles
// it for GPUs. The tests compile it for the CPU, where a harness runs every thread of every block.

#pragma once

#include <cstdint>
#include <limits>

#include "../items_cuda.h"
#include "sampling.h"

namespace seamseg::fusion::cuda {

constexpr int lanes = 32;

using Count = unsigned long long; // the type that atomicAdd takes

// ---- classes --------------------------------------------------------------------------------------------------------

template <typename T>
struct SteppedScores {
  const T* values; // classes x height x width
  int64_t classes, height, width;
  double row_step, column_step;
};

// Chooses the class with the highest score; ties go to the first class. NaN is less than any number.
template <typename T>
__global__ void choose_classes(SteppedScores<T> scores, int64_t height, int64_t width, int64_t* classes) {
  for_items(height * width, [&](int64_t pixel) {
    const Tap row = value_tap(pixel / width, scores.row_step, scores.height);
    const Tap column = value_tap(pixel % width, scores.column_step, scores.width);
    const T* upper = scores.values + row.before * scores.width;
    const T* lower = scores.values + row.after * scores.width;
    float highest = -std::numeric_limits<float>::infinity();
    int64_t best = -1; // -1 until a score is a number
    for (int64_t klass = 0; klass < scores.classes; ++klass) {
      const float above = blend(to_float(upper[column.before]), to_float(upper[column.after]), column.fraction);
      const float below = blend(to_float(lower[column.before]), to_float(lower[column.after]), column.fraction);
      const float value = blend(above, below, row.fraction);
      if (value > highest || (best < 0 && value == highest)) {
        best = klass;
        highest = value;
      }
      upper += scores.height * scores.width;
      lower += scores.height * scores.width;
    }
    classes[pixel] = best < 0 ? 0 : best;
  });
}

// ---- masks ----------------------------------------------------------------------------------------------------------

// A mask in its window of the image.
struct Mask {
  const float* cells; // num x num
  int64_t num;
  double y0, x0, y1, x1;
  int64_t top, left, height, width;

  // Rows and columns are counted from 1. The cells are padded with zeros.
  __device__ float cell(int64_t row, int64_t column) const {
    const bool outside = row == 0 || row > num || column == 0 || column > num;
    return outside ? 0 : cells[(row - 1) * num + column - 1];
  }

  // Whether the mask contains a pixel of the window. Pixels are numbered row by row.
  __device__ bool holds(int64_t pixel) const {
    const Tap row = cell_tap(top + pixel / width, y0, y1, num);
    const Tap column = cell_tap(left + pixel % width, x0, x1, num);
    const float above = between(cell(row.before, column.before), cell(row.before, column.after), column.fraction);
    const float below = between(cell(row.after, column.before), cell(row.after, column.after), column.fraction);
    return between(above, below, row.fraction) > 0.5f;
  }
};

__global__ void paste(Mask mask, bool* pixels) {
  for_items(mask.height * mask.width, [&](int64_t pixel) { pixels[pixel] = mask.holds(pixel); });
}

// ---- objects --------------------------------------------------------------------------------------------------------

// State of the objects placed so far.
struct Objects {
  int32_t* owners; // image: 1 + the last object that took the pixel; 0 if none did
  int64_t image_width;
  Count* areas; // per object: the area of its mask, and the part of it that was free
  double threshold;

  __device__ bool drops(int64_t object) const {
    return is_dropped(static_cast<int64_t>(areas[2 * object]), static_cast<int64_t>(areas[2 * object + 1]), threshold);
  }

  // Pixels taken by an object that was later dropped are free again.
  __device__ bool is_free(int32_t owner) const { return owner == 0 || drops(owner - 1); }
};

// Assigns the free pixels of a mask to an object and counts areas. The object's areas must be 0 before.
__global__ void place(Mask mask, Objects objects, int32_t object) {
  unsigned area = 0;
  unsigned free_area = 0;
  for_items(mask.height * mask.width, [&](int64_t pixel) {
    if (mask.holds(pixel)) {
      const int64_t y = mask.top + pixel / mask.width;
      int32_t& owner = objects.owners[y * objects.image_width + mask.left + pixel % mask.width];
      ++area;
      if (objects.is_free(owner)) {
        ++free_area;
        owner = object + 1;
      }
    }
  });
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    area += __shfl_down_sync(0xffffffffu, area, distance);
    free_area += __shfl_down_sync(0xffffffffu, free_area, distance);
  }
  if (threadIdx.x % lanes == 0 && area > 0) {
    atomicAdd(objects.areas + 2 * object, static_cast<Count>(area));
    atomicAdd(objects.areas + 2 * object + 1, static_cast<Count>(free_area));
  }
}

// ---- remaining pixels -----------------------------------------------------------------------------------------------

// Counts the free pixels of each class. The last count is for pixels that have no valid class.
__global__ void count_rest(Objects objects, const int64_t* semantics, int64_t num, Count* free_areas) {
  __shared__ unsigned counts[num_classes + 1];
  for (int64_t place = threadIdx.x; place <= num_classes; place += blockDim.x) {
    counts[place] = 0;
  }
  __syncthreads();
  for_items(num, [&](int64_t pixel) {
    if (objects.is_free(objects.owners[pixel])) {
      atomicAdd(counts + class_place(semantics[pixel]), 1u);
    }
  });
  __syncthreads();
  for (int64_t place = threadIdx.x; place <= num_classes; place += blockDim.x) {
    if (counts[place] > 0) {
      atomicAdd(free_areas + place, static_cast<Count>(counts[place]));
    }
  }
}

// Segment ids, or 0 for no segment: objects in their order, then classes.
struct Ids {
  int64_t num_objects;
  int64_t* of_object;
  int64_t* of_class; // the last entry is for values that are not a class
};

// Runs in one block. Areas of classes without a segment become 0.
__global__ void number(Objects objects, Ids ids, const Count* free_areas, double min_area, bool* kept, int64_t* areas) {
  const auto kept_before = [&](int64_t object) {
    int64_t count = 0;
    for (int64_t other = 0; other < object; ++other) {
      count += objects.drops(other) ? 0 : 1;
    }
    return count;
  };
  for (int64_t object = threadIdx.x; object < ids.num_objects; object += blockDim.x) {
    kept[object] = !objects.drops(object);
    ids.of_object[object] = kept[object] ? 1 + kept_before(object) : 0;
  }
  const auto has_segment = [&](int64_t klass) {
    return klass < num_classes && is_segment(klass, static_cast<int64_t>(free_areas[klass]), min_area);
  };
  for (int64_t klass = threadIdx.x; klass <= num_classes; klass += blockDim.x) {
    int64_t id = 1 + kept_before(ids.num_objects);
    for (int64_t other = 0; other < klass; ++other) {
      id += has_segment(other) ? 1 : 0;
    }
    ids.of_class[klass] = has_segment(klass) ? id : 0;
    areas[klass] = has_segment(klass) || klass == num_classes ? static_cast<int64_t>(free_areas[klass]) : 0;
  }
}

__global__ void label(const int32_t* owners, const int64_t* semantics, int64_t num, Ids ids, int64_t* to) {
  for_items(num, [&](int64_t pixel) {
    const int64_t own = owners[pixel] == 0 ? 0 : ids.of_object[owners[pixel] - 1];
    to[pixel] = own != 0 ? own : ids.of_class[class_place(semantics[pixel])];
  });
}

// ---- launches -------------------------------------------------------------------------------------------------------

template <typename T, typename Launch>
void launch_upsample_argmax(
    const Launch& launch, const SteppedScores<T>& scores, int64_t height, int64_t width, int64_t* classes) {
  launch(&choose_classes<T>, grid_for(height * width), dim3(block_threads), scores, height, width, classes);
}

template <typename Launch>
void launch_paste(const Launch& launch, const Mask& mask, bool* pixels) {
  launch(&paste, grid_for(mask.height * mask.width), dim3(block_threads), mask, pixels);
}

// Outputs of the fusion.
struct Fused {
  int64_t* ids;   // num pixels
  bool* kept;     // per object
  int64_t* areas; // per class; the last is for pixels without a class
};

// Must be called after launch_place was called for all objects.
template <typename Launch>
void launch_rest(
    const Launch& launch, const Objects& objects, const Ids& ids, const int64_t* semantics, int64_t num,
    double min_area, Count* free_areas, const Fused& fused) {
  launch(&count_rest, grid_for(num), dim3(block_threads), objects, semantics, num, free_areas);
  launch(
      &number, dim3(1), dim3(block_threads), objects, ids, static_cast<const Count*>(free_areas), min_area, fused.kept,
      fused.areas);
  launch(
      &label, grid_for(num), dim3(block_threads), static_cast<const int32_t*>(objects.owners), semantics, num, ids,
      fused.ids);
}

template <typename Launch>
void launch_place(const Launch& launch, const Mask& mask, const Objects& objects, int32_t object) {
  launch(&place, grid_for(mask.height * mask.width), dim3(block_threads), mask, objects, object);
}

} // namespace seamseg::fusion::cuda
