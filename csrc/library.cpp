// Schemas of all operators of the native library. The kernels register themselves next to their code, in one ..._IMPL
// block per operator and backend. Shape functions and derivatives are in seamseg/ops/.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(seamseg, library) {
  // Build and machine
  library.def("cuda_architectures() -> str");
  library.def("cpu_capability() -> str");

  // Annotation
  library.def("segment_boxes(Tensor ids, int num_segments) -> (Tensor boxes, Tensor areas)");
  library.def("lookup_ids(Tensor ids, Tensor known) -> Tensor");
  library.def("index_grid(Tensor ids, Tensor rows, Tensor columns) -> Tensor");

  // PNG files; the numbers are addresses of the functions of zlib-ng with these names
  library.def("use_zlib_ng(int inflate_init, int inflate, int inflate_end, int crc32) -> ()");
  library.def("read_id_png(Tensor bytes) -> Tensor");

  // Boxes
  library.def("nms(Tensor boxes, float threshold, int max_kept) -> Tensor");

  // Region features
  library.def(
      "multilevel_roi_align(Tensor[] levels, Tensor boxes, Tensor image_index, Tensor level_index, int output_size) "
      "-> Tensor");
  library.def(
      "multilevel_roi_align_gradient(Tensor gradient, Tensor boxes, Tensor image_index, Tensor level_index, "
      "int num_images, int[] heights, int[] widths, bool channels_last) -> Tensor[]");

  // Group norm in channels last
  library.def(
      "group_norm(Tensor x, int groups, Tensor weight, Tensor bias, float eps) -> (Tensor y, Tensor statistics)");
  library.def(
      "group_norm_gradient(Tensor x, Tensor dy, Tensor statistics, Tensor weight) "
      "-> (Tensor dx, Tensor dweight, Tensor dbias)");

  // Standardized filters
  library.def(
      "standardize_filters(Tensor weight, bool in_bfloat16, float eps) -> (Tensor filters, Tensor statistics)");
  library.def("standardize_filters_gradient(Tensor weight, Tensor dfilters, Tensor statistics) -> Tensor");

  // Mean over a window
  library.def("window_mean(Tensor x, int window) -> Tensor");
  library.def("window_mean_gradient(Tensor gradient, int window) -> Tensor");

  // Fusion
  library.def("upsample_argmax(Tensor logits, float row_step, float column_step, int height, int width) -> Tensor");
  library.def(
      "paste_mask(Tensor probabilities, float y0, float x0, float y1, float x1, int top, int left, int height, "
      "int width) -> Tensor");
  library.def(
      "panoptic_fusion(Tensor masks, Tensor boxes, Tensor windows, Tensor semantics, float overlap_threshold, "
      "float min_area) -> (Tensor ids, Tensor kept, Tensor areas)");

  // Cross-entropy of upsampled logits
  library.def(
      "upsampled_cross_entropy(Tensor logits, Tensor target, float row_step, float column_step) "
      "-> (Tensor losses, Tensor log_sums)");
  library.def(
      "upsampled_cross_entropy_gradient(Tensor logits, Tensor classes, Tensor log_sums, Tensor weight, Tensor? factors, "
      "float row_step, float column_step) -> Tensor");
  library.def("hardest_pixels(Tensor losses, Tensor target, int num) -> (Tensor mean, Tensor classes)");

  // Scoring
  library.def("map_overlaps(Tensor true_ids, Tensor predicted_ids, int band) -> Tensor");
  library.def("png_overlaps(Tensor true_png, Tensor predicted_png, int band) -> Tensor");

  // In-place activated BatchNorm
  library.def("abn_moments(Tensor x) -> Tensor");
  library.def(
      "abn_normalize_(Tensor(a!) x, Tensor? residual, Tensor moments, Tensor gamma, Tensor beta, float eps, "
      "int activation, float slope) -> ()");
  library.def(
      "abn_train_(Tensor(a!) x, Tensor? residual, Tensor gamma, Tensor beta, float eps, int activation, float slope) "
      "-> Tensor");
  library.def(
      "abn_sums(Tensor z, Tensor dz, Tensor? residual, Tensor gamma, Tensor beta, int activation, float slope) "
      "-> Tensor");
  library.def(
      "abn_gradient(Tensor z, Tensor dz, Tensor? residual, Tensor means, Tensor moments, Tensor gamma, Tensor beta, "
      "float eps, int activation, float slope) -> (Tensor dx, Tensor dr)");
  library.def(
      "abn_train_gradient(Tensor z, Tensor dz, Tensor? residual, Tensor moments, Tensor gamma, Tensor beta, "
      "float eps, int activation, float slope) -> (Tensor dx, Tensor dr, Tensor sums)");
  library.def(
      "abn_layer_train_(Tensor(a!) x, Tensor? residual, Tensor weight, Tensor bias, Tensor(b!)? running_mean, "
      "Tensor(c!)? running_var, Tensor(d!)? num_batches, float momentum, int scale, float eps, int activation, "
      "float slope) -> Tensor");
  library.def(
      "abn_layer_gradient(Tensor z, Tensor dz, Tensor? residual, Tensor weight, Tensor bias, Tensor moments, "
      "int scale, float eps, int activation, float slope) -> (Tensor dx, Tensor dr, Tensor dweight, Tensor dbias)");
  library.def("abn_smallest_gammas(Tensor weight, Tensor bias, float eps, bool elu) -> (float relative, float gamma)");
}
