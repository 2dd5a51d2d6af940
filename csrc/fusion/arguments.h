// Argument checks shared by all backends. Error messages start with the operator's name, which seamseg/ops/native.py
// turns into a ValueError.

#pragma once

#include <cstdint>
#include <optional>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "../check.h"
#include "../tensors.h"
#include "sampling.h"

namespace seamseg::fusion {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A box, and the window of image rows and columns whose centers lie in it.
struct Place {
  double y0, x0, y1, x1;
  int64_t top, left, height, width;
};

inline void check_place(const Place& place, int64_t height, int64_t width, const char* op) {
  check(
      place.top >= 0 && place.left >= 0 && place.height >= 0 && place.width >= 0 &&
          place.height <= height - place.top && place.width <= width - place.left,
      op, "a window must lie in the image");
}

inline void check_scores(const Tensor& scores, int64_t height, int64_t width, const char* op = "upsample_argmax") {
  check(scores.dim() == 3, op, "the scores must have three dimensions: classes, height and width");
  const ScalarType type = scores.scalar_type();
  check(
      type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half, op,
      "the scores must be float32, bfloat16 or float16");
  check(height >= 0 && width >= 0, op, "the output's height and width must not be negative");
  check(scores.numel() > 0 || height * width == 0, op, "there are no scores to choose classes from");
}

inline void check_masks(const Tensor& masks, int64_t dims, const char* op) {
  check(
      masks.dim() == dims && masks.size(dims - 1) == masks.size(dims - 2) && masks.size(dims - 1) > 0, op,
      "masks must be square, with at least one cell");
  check(masks.scalar_type() == ScalarType::Float, op, "masks must be float32");
}

inline void check_fusion(const Tensor& masks, const Tensor& boxes, const Tensor& windows, const Tensor& semantics) {
  constexpr auto* op = "panoptic_fusion";
  check_masks(masks, 3, op);
  const auto is_table = [&](const Tensor& tensor, ScalarType type) {
    return tensor.dim() == 2 && tensor.size(0) == masks.size(0) && tensor.size(1) == 4 && !tensor.is_cuda() &&
        tensor.scalar_type() == type && tensor.is_contiguous();
  };
  check(is_table(boxes, ScalarType::Double), op, "boxes must be four float64 numbers per mask, contiguous, on the CPU");
  check(is_table(windows, ScalarType::Long), op, "windows must be four int64 numbers per mask, contiguous, on the CPU");
  check(
      semantics.dim() == 2 && semantics.scalar_type() == ScalarType::Long, op,
      "the class map must be two-dimensional int64 (height, width)");
  check(on_same_device(semantics, masks), op, "masks and class map must be on the same device");
}

inline void check_cross_entropy(const Tensor& logits, const Tensor& target) {
  constexpr auto* op = "upsampled_cross_entropy";
  check(target.dim() == 2 && target.scalar_type() == ScalarType::Long, op, "the classes must be H x W int64");
  check_scores(logits, target.size(0), target.size(1), op);
  check(logits.size(0) <= void_class, op, "there are more than 255 classes");
  check(on_same_device(logits, target), op, "logits and classes must be on the same device");
}

inline void check_cross_entropy_gradient(
    const Tensor& logits, const Tensor& classes, const Tensor& log_sums, const Tensor& weight,
    const std::optional<Tensor>& factors) {
  constexpr auto* op = "upsampled_cross_entropy_gradient";
  const auto is_map = [&](const Tensor& map) {
    return map.dim() == 2 && map.size(0) == classes.size(0) && map.size(1) == classes.size(1) &&
        map.scalar_type() == ScalarType::Float;
  };
  check(classes.dim() == 2 && classes.scalar_type() == ScalarType::Byte, op, "the classes must be H x W uint8");
  check_scores(logits, classes.size(0), classes.size(1), op);
  check(is_map(log_sums), op, "the logarithms must be float32 of the size of the classes");
  check(!factors || is_map(*factors), op, "the factors must be float32 of the size of the classes");
  check(
      weight.dim() == 0 && weight.scalar_type() == ScalarType::Float, op,
      "the weight must be zero-dimensional float32");
  check(
      on_same_device(logits, classes) && on_same_device(logits, log_sums) && on_same_device(logits, weight) &&
          (!factors || on_same_device(logits, *factors)),
      op, "all tensors must be on the same device");
}

// Returns the place of object k in the image.
inline Place place_of(const Tensor& boxes, const Tensor& windows, int64_t k, const Tensor& semantics) {
  const auto* box = pointer<double>(boxes) + 4 * k;
  const auto* window = pointer<int64_t>(windows) + 4 * k;
  const Place place{box[0], box[1], box[2], box[3], window[0], window[1], window[2] - window[0], window[3] - window[1]};
  check_place(place, semantics.size(0), semantics.size(1), "panoptic_fusion");
  return place;
}

} // namespace seamseg::fusion
