// Launches the CUDA kernels of the cross-entropy of upsampled logits on the CPU.

#include "fusion/cross_entropy_cuda.h"

#include "launching.h"

using cuda_host::give;
using cuda_host::Launch;
using namespace seamseg::fusion;
using namespace seamseg::fusion::cuda;

extern "C" {

// One call, filled in by tests/native/cross_entropy_kernels.py. Pointers are null for tensors that are not needed.
struct CrossEntropyCall {
  double row_step, column_step;
  int64_t type, classes, height, width, num_rows, num_columns; // the types are those of fault_with_type()
  const void* values;
  int32_t* taps;         // three numbers per row and column
  const int64_t* target; // forward
  float *losses, *log_sums;
  const uint8_t* chosen; // backward; it reads the logarithms
  const float* weight;
  const float* factors; // null for no factors
  float* gradient;
};
}

namespace {

template <typename T>
Scores<T> scores_of(const CrossEntropyCall& call, const Steps& steps) {
  static_assert(sizeof(Tap) == 3 * sizeof(int32_t));
  const auto* values = static_cast<const T*>(call.values);
  give(values, call.classes * call.height * call.width);
  give(call.taps, 3 * num_taps(call.num_rows, call.num_columns));
  Scores<T> scores{values,  call.classes,  call.height,     call.width,
                   nullptr, nullptr, call.num_rows, call.num_columns};
  launch_taps(Launch{"taps"}, steps, reinterpret_cast<Tap*>(call.taps), scores);
  return scores;
}

} // namespace

// Each function returns a description of the fault, or an empty string.
extern "C" {

const char* cross_entropy_losses(const CrossEntropyCall* call) {
  return cuda_host::fault_with_type(call->type, [&](auto number) {
    const int64_t pixels = call->num_rows * call->num_columns;
    give(call->target, pixels);
    give(call->losses, pixels);
    give(call->log_sums, pixels);
    const auto scores = scores_of<decltype(number)>(*call, {call->row_step, call->column_step});
    launch_losses(Launch{"losses"}, scores, call->target, {call->losses, call->log_sums});
  });
}

const char* cross_entropy_gradient(const CrossEntropyCall* call) {
  return cuda_host::fault_with_type(call->type, [&](auto number) {
    const int64_t pixels = call->num_rows * call->num_columns;
    give(call->chosen, pixels);
    give(static_cast<const float*>(call->log_sums), pixels);
    give(call->weight, 1);
    if (call->factors != nullptr) {
      give(call->factors, pixels);
    }
    give(call->gradient, call->classes * call->height * call->width);
    const Steps steps{call->row_step, call->column_step};
    const auto scores = scores_of<decltype(number)>(*call, steps);
    const Chosen chosen{call->chosen, call->log_sums, call->weight, call->factors};
    launch_gradient(Launch{"gradient"}, scores, chosen, steps, call->gradient);
  });
}
}
