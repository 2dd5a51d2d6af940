// Launches the CUDA kernels of the fusion on the CPU, the way the operators launch them on a GPU.

#include "fusion/kernels_cuda.h"

#include "launching.h"

using cuda_host::give;
using cuda_host::Launch;
using namespace seamseg::fusion;
using namespace seamseg::fusion::cuda;

extern "C" {

// Calls, filled in by tests/native/fusion_kernels.py.
struct UpsampleArgmaxCall {
  int64_t type; // 0 float32, 1 float16, 2 bfloat16
  const void* values;
  int64_t classes, height, width;
  double row_step, column_step;
  int64_t out_height, out_width;
  int64_t* out;
};

struct PasteCall {
  const float* cells;
  int64_t num;
  double box[4];
  int64_t window[4]; // top, left, height, width
  bool* out;
};

struct FusionCall {
  const float* cells; // objects x size x size
  int64_t objects, size;
  const double* boxes;
  const int64_t* windows; // top, left, bottom, right
  int64_t height, width;
  const int64_t* semantics;
  double threshold, min_area;
  // Filled with zeros.
  int32_t* owners;
  Count* object_areas;
  Count* free_areas;
  // May contain any values.
  int64_t *object_ids, *class_ids;
  // Results.
  int64_t* ids;
  bool* kept;
  int64_t* areas;
};
}

namespace {

template <typename T>
void run_upsample_argmax(const UpsampleArgmaxCall& call) {
  const auto* values = static_cast<const T*>(call.values);
  give(values, call.classes * call.height * call.width);
  give(call.out, call.out_height * call.out_width);
  const SteppedScores<T> scores{values, call.classes, call.height, call.width, call.row_step, call.column_step};
  launch_upsample_argmax(Launch{"upsample_argmax"}, scores, call.out_height, call.out_width, call.out);
}

void give_all(const FusionCall& call) {
  const int64_t pixels = call.height * call.width;
  give(call.cells, call.objects * call.size * call.size);
  give(call.semantics, pixels);
  give(call.owners, pixels);
  give(call.object_areas, 2 * call.objects);
  give(call.free_areas, num_classes + 1);
  give(call.object_ids, call.objects);
  give(call.class_ids, num_classes + 1);
  give(call.ids, pixels);
  give(call.kept, call.objects);
  give(call.areas, num_classes + 1);
}

Mask mask_of(const FusionCall& call, int64_t object) {
  const double* box = call.boxes + 4 * object;
  const int64_t* window = call.windows + 4 * object;
  return {
      call.cells + object * call.size * call.size,
      call.size,
      box[0],
      box[1],
      box[2],
      box[3],
      window[0],
      window[1],
      window[2] - window[0],
      window[3] - window[1]};
}

} // namespace

// Each function returns a description of the fault, or an empty string.
extern "C" {

const char* fusion_upsample_argmax(const UpsampleArgmaxCall* call) {
  return cuda_host::fault_with_type(call->type, [&](auto number) { run_upsample_argmax<decltype(number)>(*call); });
}

const char* fusion_paste(const PasteCall* call) {
  return cuda_host::fault_of([&] {
    give(call->cells, call->num * call->num);
    give(call->out, call->window[2] * call->window[3]);
    const double* box = call->box;
    const int64_t* window = call->window;
    const Mask mask{call->cells, call->num, box[0], box[1], box[2], box[3], window[0], window[1], window[2], window[3]};
    launch_paste(Launch{"paste"}, mask, call->out);
  });
}

const char* fusion_fuse(const FusionCall* call) {
  return cuda_host::fault_of([&] {
    give_all(*call);
    const Objects objects{call->owners, call->width, call->object_areas, call->threshold};
    for (int64_t object = 0; object < call->objects; ++object) {
      const Mask mask = mask_of(*call, object);
      if (mask.height > 0 && mask.width > 0) {
        launch_place(Launch{"place"}, mask, objects, static_cast<int32_t>(object));
      }
    }
    const Ids ids{call->objects, call->object_ids, call->class_ids};
    launch_rest(
        Launch{"rest"}, objects, ids, call->semantics, call->height * call->width, call->min_area, call->free_areas,
        Fused{call->ids, call->kept, call->areas});
  });
}
}
