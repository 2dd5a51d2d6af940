// CUDA operators that sample features of regions from the levels of a pyramid, and their gradient. The kernels are in
// kernels_cuda.h.

#include "../device_cuda.h"

#include <type_traits>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "arguments.h"
#include "kernels_cuda.h"

namespace seamseg::roi_align::cuda {
namespace {

void check_size(size_t num_levels, int64_t channels, int64_t output_size, const char* op) {
  check(num_levels <= static_cast<size_t>(most_levels), op, "a GPU supports at most 8 levels");
  check(
      output_size <= 1 << 14 && channels <= largest_region / (output_size * output_size), op,
      "the features of a region are too large for a GPU");
}

// The levels must be in the layout.
template <typename N>
Levels<N> levels_of(const std::vector<Tensor>& tensors, bool channels_last) {
  const Tensor& first = tensors[0];
  Levels<N> levels{{}, {}, {}, static_cast<int64_t>(tensors.size()), first.size(0), first.size(1), channels_last};
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& level = tensors[i];
    if constexpr (std::is_const_v<N>) {
      levels.values[i] = pointer<std::remove_const_t<N>>(level);
    } else {
      levels.values[i] = mutable_pointer<N>(level);
    }
    levels.heights[i] = static_cast<int32_t>(level.size(2));
    levels.widths[i] = static_cast<int32_t>(level.size(3));
  }
  return levels;
}

// Contiguous copies of the regions' tensors, if they are needed.
struct RegionTensors {
  Tensor boxes, images, levels;
  int64_t size;

  RegionTensors(const Tensor& boxes, const Tensor& image_index, const Tensor& level_index, int64_t size)
      : boxes(torch::stable::contiguous(boxes)),
        images(torch::stable::contiguous(image_index)),
        levels(torch::stable::contiguous(level_index)),
        size(size) {}

  Regions get() const {
    return {pointer<float>(boxes), pointer<int64_t>(images), pointer<int64_t>(levels), boxes.size(0), size};
  }
};

Tensor multilevel_roi_align(
    std::vector<Tensor> levels, Tensor boxes, Tensor image_index, Tensor level_index, int64_t output_size) {
  constexpr auto* op = "multilevel_roi_align";
  check_sampling(levels, boxes, image_index, level_index, output_size);
  check_size(levels.size(), levels[0].size(1), output_size, op);
  const bool channels_last = is_channels_last(levels[0]);
  const ScalarType type = levels[0].scalar_type();
  const std::vector<int64_t> shape{boxes.size(0), levels[0].size(1), output_size, output_size};
  Tensor features = empty_like(levels[0], type, shape, channels_last);
  if (features.numel() > 0) {
    const Device device(boxes, op);
    for (Tensor& level : levels) {
      level = in_layout(level, channels_last);
    }
    const RegionTensors regions(boxes, image_index, level_index, output_size);
    with_type(type, [&](auto number) {
      using T = decltype(number);
      launch_sample(device, levels_of<const T>(levels, channels_last), regions.get(), mutable_pointer<T>(features));
    });
  }
  return features;
}

std::vector<Tensor> multilevel_roi_align_gradient(
    Tensor gradient, Tensor boxes, Tensor image_index, Tensor level_index, int64_t num_images,
    std::vector<int64_t> heights, std::vector<int64_t> widths, bool channels_last) {
  check_gradient(gradient, boxes, image_index, level_index, num_images, heights, widths);
  check_size(heights.size(), gradient.size(1), gradient.size(2), "multilevel_roi_align_gradient");
  std::vector<Tensor> levels = zeros_of_levels(gradient, num_images, heights, widths, channels_last);
  if (gradient.numel() > 0) {
    const Device device(gradient, "multilevel_roi_align_gradient");
    const Tensor of_features = in_layout(gradient, channels_last);
    const RegionTensors regions(boxes, image_index, level_index, gradient.size(2));
    with_type(gradient.scalar_type(), [&](auto number) {
      using T = decltype(number);
      launch_spread(device, pointer<T>(of_features), levels_of<float>(levels, channels_last), regions.get());
    });
  }
  return levels;
}

} // namespace
} // namespace seamseg::roi_align::cuda

STABLE_TORCH_LIBRARY_IMPL(seamseg, CUDA, library) {
  library.impl("multilevel_roi_align", TORCH_BOX(&seamseg::roi_align::cuda::multilevel_roi_align));
  library.impl("multilevel_roi_align_gradient", TORCH_BOX(&seamseg::roi_align::cuda::multilevel_roi_align_gradient));
}
