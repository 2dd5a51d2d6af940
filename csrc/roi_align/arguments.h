// Argument checks and memory layouts shared by all backends. Error messages start with the operator's name, which
// seamseg/ops/native.py turns into a ValueError.

#pragma once

#include <cstdint>
#include <vector>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include "../check.h"
#include "../tensors.h"

namespace seamseg::roi_align {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The layout of all levels and of the features of the regions is the one of the first level.
inline bool is_channels_last(const Tensor& x) {
  return !x.is_contiguous() && x.stride(1) == 1 && x.stride(3) == x.size(1) && x.stride(2) == x.size(1) * x.size(3);
}

inline Tensor in_layout(const Tensor& x, bool channels_last) {
  return torch::stable::contiguous(x, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline Tensor empty_like(const Tensor& x, ScalarType type, std::vector<int64_t> size, bool channels_last) {
  if (!channels_last) {
    return torch::stable::new_empty(x, size, type);
  }
  const Tensor rows = torch::stable::new_empty(x, {size[0], size[2], size[3], size[1]}, type);
  return torch::stable::permute(rows, {0, 3, 1, 2});
}

// GPUs also support float16.
inline void check_type(const Tensor& x, const char* op, const char* message) {
  const ScalarType type = x.scalar_type();
  const bool is_half = type == ScalarType::Half && x.is_cuda();
  check(type == ScalarType::Float || type == ScalarType::BFloat16 || is_half, op, message);
}

// All tensors must be on the device of `x`.
inline void check_regions(
    const Tensor& x, const Tensor& boxes, const Tensor& image_index, const Tensor& level_index, int64_t output_size,
    const char* op) {
  check(
      boxes.dim() == 2 && boxes.size(1) == 4 && boxes.scalar_type() == ScalarType::Float, op,
      "boxes must be four float32 numbers per region");
  for (const Tensor* index : {&image_index, &level_index}) {
    check(
        index->dim() == 1 && index->size(0) == boxes.size(0) && index->scalar_type() == ScalarType::Long, op,
        "the indices of images and levels must be one int64 number per region");
    check(on_same_device(*index, x) && on_same_device(boxes, x), op, "all tensors must be on the same device");
  }
  check(output_size > 0, op, "the output size must be positive");
}

inline void check_sampling(
    const std::vector<Tensor>& levels, const Tensor& boxes, const Tensor& image_index, const Tensor& level_index,
    int64_t output_size) {
  constexpr auto* op = "multilevel_roi_align";
  check(!levels.empty(), op, "there must be a level");
  for (const Tensor& level : levels) {
    check(level.dim() == 4, op, "levels must have four dimensions: images, channels, height and width");
    check(
        level.size(0) == levels[0].size(0) && level.size(1) == levels[0].size(1) &&
            level.scalar_type() == levels[0].scalar_type(),
        op, "all levels must have the same type and the same number of images and channels");
    check(on_same_device(level, levels[0]), op, "all tensors must be on the same device");
  }
  check_regions(levels[0], boxes, image_index, level_index, output_size, op);
  check_type(levels[0], op, "levels must be float32 or bfloat16, or float16 on a GPU");
}

inline void check_gradient(
    const Tensor& gradient, const Tensor& boxes, const Tensor& image_index, const Tensor& level_index,
    int64_t num_images, const std::vector<int64_t>& heights, const std::vector<int64_t>& widths) {
  constexpr auto* op = "multilevel_roi_align_gradient";
  check(
      gradient.dim() == 4 && gradient.size(2) == gradient.size(3) && gradient.size(0) == boxes.size(0), op,
      "the gradient must have the shape of the features: regions, channels, output size and output size");
  check_regions(gradient, boxes, image_index, level_index, gradient.size(2), op);
  check(
      num_images > 0 && !heights.empty() && heights.size() == widths.size(), op,
      "there must be an image and a level, and a height and a width per level");
  check_type(gradient, op, "the gradient must be float32 or bfloat16, or float16 on a GPU");
}

// Returns zeros to add up the gradient of every level in.
inline std::vector<Tensor> zeros_of_levels(
    const Tensor& gradient, int64_t num_images, const std::vector<int64_t>& heights, const std::vector<int64_t>& widths,
    bool channels_last) {
  std::vector<Tensor> levels;
  for (size_t i = 0; i < heights.size(); ++i) {
    const std::vector<int64_t> size{num_images, gradient.size(1), heights[i], widths[i]};
    levels.push_back(empty_like(gradient, ScalarType::Float, size, channels_last));
    torch::stable::zero_(levels.back());
  }
  return levels;
}

} // namespace seamseg::roi_align
