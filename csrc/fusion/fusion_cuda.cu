// CUDA operators for class maps, pasted masks and their fusion. The kernels are in kernels_cuda.h.

#include "../device_cuda.h"

#include <tuple>

#include <torch/csrc/stable/library.h>

#include "arguments.h"
#include "kernels_cuda.h"

namespace seamseg::fusion::cuda {
namespace {

template <typename T>
void fill(const Device& device, const Tensor& logits, double row_step, double column_step, const Tensor& classes) {
  const SteppedScores<T> scores{
      pointer<T>(logits), logits.size(0), logits.size(1), logits.size(2), row_step, column_step};
  launch_upsample_argmax(device, scores, classes.size(0), classes.size(1), mutable_pointer<int64_t>(classes));
}

Tensor upsample_argmax(Tensor logits, double row_step, double column_step, int64_t height, int64_t width) {
  check_scores(logits, height, width);
  Tensor classes = torch::stable::new_empty(logits, {height, width}, ScalarType::Long);
  if (classes.numel() == 0) {
    return classes;
  }
  const Device device(logits, "upsample_argmax");
  const Tensor scores = torch::stable::contiguous(logits);
  with_type(scores.scalar_type(), [&](auto number) {
    fill<decltype(number)>(device, scores, row_step, column_step, classes);
  });
  return classes;
}

Mask mask_of(const float* cells, int64_t num, const Place& place) {
  return {cells, num, place.y0, place.x0, place.y1, place.x1, place.top, place.left, place.height, place.width};
}

Tensor paste_mask(
    Tensor probabilities, double y0, double x0, double y1, double x1, int64_t top, int64_t left, int64_t height,
    int64_t width) {
  check_masks(probabilities, 2, "paste_mask");
  const Place place{y0, x0, y1, x1, top, left, height, width};
  check_place(place, top + height, left + width, "paste_mask");
  Tensor pixels = torch::stable::new_empty(probabilities, {height, width}, ScalarType::Bool);
  if (pixels.numel() == 0) {
    return pixels;
  }
  const Device device(probabilities, "paste_mask");
  const Tensor cells = torch::stable::contiguous(probabilities);
  launch_paste(device, mask_of(pointer<float>(cells), cells.size(0), place), mutable_pointer<bool>(pixels));
  return pixels;
}

std::tuple<Tensor, Tensor, Tensor> panoptic_fusion(
    Tensor masks, Tensor boxes, Tensor windows, Tensor semantics, double overlap_threshold, double min_area) {
  check_fusion(masks, boxes, windows, semantics);
  const Device device(semantics, "panoptic_fusion");
  const Tensor cells = torch::stable::contiguous(masks);
  const Tensor classes = torch::stable::contiguous(semantics);
  const int64_t num = cells.size(0);
  const int64_t size = cells.size(1);
  Tensor ids = torch::stable::new_empty(classes, {classes.size(0), classes.size(1)});
  Tensor kept = torch::stable::new_empty(classes, {num}, ScalarType::Bool);
  Tensor areas = torch::stable::new_empty(classes, {num_classes + 1});
  const Tensor owners = torch::stable::new_zeros(classes, {classes.size(0), classes.size(1)}, ScalarType::Int);
  const Tensor object_areas = torch::stable::new_zeros(classes, {num, 2});
  const Tensor free_areas = torch::stable::new_zeros(classes, {num_classes + 1});
  const Tensor object_ids = torch::stable::new_empty(classes, {num});
  const Tensor class_ids = torch::stable::new_empty(classes, {num_classes + 1});

  const Objects objects{
      mutable_pointer<int32_t>(owners), classes.size(1), mutable_pointer<Count>(object_areas), overlap_threshold};
  for (int64_t k = 0; k < num; ++k) {
    const Place place = place_of(boxes, windows, k, classes);
    if (place.height > 0 && place.width > 0) {
      const Mask mask = mask_of(pointer<float>(cells) + k * size * size, size, place);
      launch_place(device, mask, objects, static_cast<int32_t>(k));
    }
  }
  launch_rest(
      device, objects, Ids{num, mutable_pointer<int64_t>(object_ids), mutable_pointer<int64_t>(class_ids)},
      pointer<int64_t>(classes), classes.numel(), min_area, mutable_pointer<Count>(free_areas),
      Fused{mutable_pointer<int64_t>(ids), mutable_pointer<bool>(kept), mutable_pointer<int64_t>(areas)});
  return {ids, kept, areas};
}

} // namespace
} // namespace seamseg::fusion::cuda

STABLE_TORCH_LIBRARY_IMPL(seamseg, CUDA, library) {
  using namespace seamseg::fusion::cuda;
  library.impl("upsample_argmax", TORCH_BOX(&upsample_argmax));
  library.impl("paste_mask", TORCH_BOX(&paste_mask));
  library.impl("panoptic_fusion", TORCH_BOX(&panoptic_fusion));
}
