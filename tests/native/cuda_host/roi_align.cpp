// Launches the CUDA kernels of multilevel RoIAlign on the CPU.

#include "roi_align/kernels_cuda.h"

#include "launching.h"

using cuda_host::give;
using cuda_host::Launch;
using namespace seamseg::roi_align::cuda;

extern "C" {

// One call, filled in by tests/native/roi_align_kernels.py.
struct RoIAlignCall {
  int64_t type; // of the features: 0 float32, 1 float16, 2 bfloat16
  int64_t num_levels, images, channels, channels_last;
  void* const* values; // of the levels; gradients are float32
  const int64_t* heights;
  const int64_t* widths;
  const float* boxes;
  const int64_t* image_index;
  const int64_t* level_index;
  int64_t num, size;
  void* features; // or their gradient
};
}

namespace {

template <typename N>
Levels<N> levels_of(const RoIAlignCall& call) {
  Levels<N> levels{{}, {}, {}, call.num_levels, call.images, call.channels, call.channels_last != 0};
  for (int64_t i = 0; i < call.num_levels; ++i) {
    levels.values[i] = static_cast<N*>(call.values[i]);
    levels.heights[i] = static_cast<int32_t>(call.heights[i]);
    levels.widths[i] = static_cast<int32_t>(call.widths[i]);
    give(levels.values[i], call.images * call.channels * call.heights[i] * call.widths[i]);
  }
  return levels;
}

Regions regions_of(const RoIAlignCall& call) {
  give(call.boxes, 4 * call.num);
  give(call.image_index, call.num);
  give(call.level_index, call.num);
  return {call.boxes, call.image_index, call.level_index, call.num, call.size};
}

template <typename T>
T* features_of(const RoIAlignCall& call) {
  auto* features = static_cast<T*>(call.features);
  give(features, call.num * call.channels * call.size * call.size);
  return features;
}

} // namespace

// Each function returns a description of the fault, or an empty string.
extern "C" {

const char* roi_align_sample(const RoIAlignCall* call) {
  return cuda_host::fault_with_type(call->type, [&](auto number) {
    using T = decltype(number);
    launch_sample(Launch{"sample"}, levels_of<const T>(*call), regions_of(*call), features_of<T>(*call));
  });
}

const char* roi_align_spread(const RoIAlignCall* call) {
  return cuda_host::fault_with_type(call->type, [&](auto number) {
    const auto* gradient = features_of<const decltype(number)>(*call);
    launch_spread(Launch{"spread"}, gradient, levels_of<float>(*call), regions_of(*call));
  });
}
}
