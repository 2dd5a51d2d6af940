// Launches the CUDA kernels of in-place activated BatchNorm on the CPU, the way the operators launch them on a GPU.

#include "inplace_abn/launch_cuda.h"

using namespace seamseg::inplace_abn;
using namespace seamseg::inplace_abn::cuda;

extern "C" {

// One call, filled in by tests/native/harness.py. Pointers are null for tensors that are not needed or do not exist.
struct Call {
  int64_t type; // 0 float32, 1 float64, 2 float16, 3 bfloat16
  int64_t rows, channels, inner, interleaved;
  int64_t multiprocessors, wide;
  int64_t activation;
  double slope, eps, means_scale;
  void *x, *residual; // forward; abn_normalize writes x
  const void *z, *dz; // backward, with the residual
  void *dx, *dr;
  const void *gamma, *beta, *moments, *means;
  void* workspace;                        // workspace_size numbers
  void* result;                           // two numbers per channel
  int64_t workspace_size, splits, packed; // set by abn_plan; packed: whether every access is 16 bytes wide
};
}

namespace {

template <typename T>
Plan plan_of(const Call& call) {
  const auto size = [](int64_t number) { return static_cast<uint64_t>(number); };
  const Extent extent{size(call.rows), size(call.channels), size(call.inner), call.interleaved != 0};
  const std::initializer_list<const void*> tensors{call.x, call.z, call.dz, call.residual, call.dx, call.dr};
  Plan plan = make_plan<T>(extent, tensors, static_cast<int>(call.multiprocessors));
  plan.wide = plan.wide || call.wide != 0;
  return plan;
}

// Registers only the tensors of a call that the operator gets, with the size that it gets them.
template <typename T>
void give(const Call& call, const Plan& plan, bool writes_x) {
  using A = Accumulate<T>;
  const auto samples = static_cast<size_t>(call.rows * call.channels * call.inner);
  const auto channels = static_cast<size_t>(call.channels);
  const auto give_if = [](const void* memory, size_t count, size_t bytes, bool writable) {
    if (memory != nullptr) {
      cuda_host::give(memory, count * bytes, bytes, writable);
    }
  };
  give_if(call.x, samples, sizeof(T), writes_x);
  give_if(call.residual, samples, sizeof(T), false);
  give_if(call.z, samples, sizeof(T), false);
  give_if(call.dz, samples, sizeof(T), false);
  give_if(call.dx, samples, sizeof(T), true);
  give_if(call.dr, samples, sizeof(T), true);
  give_if(call.gamma, channels, sizeof(A), false);
  give_if(call.beta, channels, sizeof(A), false);
  give_if(call.moments, 2 * channels, sizeof(A), false);
  give_if(call.means, 2 * channels, sizeof(A), false);
  give_if(call.workspace, workspace_size(plan), sizeof(A), true);
  give_if(call.result, 2 * channels, sizeof(A), true);
}

template <typename T>
Affine<Accumulate<T>> affine_of(const Call& call) {
  using A = Accumulate<T>;
  return {
      static_cast<const A*>(call.gamma), static_cast<const A*>(call.beta), call.eps,
      static_cast<Activation>(call.activation), call.slope};
}

template <typename T>
Outputs<T> outputs_of(const Call& call) {
  return {static_cast<const T*>(call.z), static_cast<const T*>(call.dz), static_cast<const T*>(call.residual)};
}

template <typename Use>
const char* with_type(int64_t type, const Use& use) {
  return cuda_host::fault_of([&] {
    switch (type) {
      case 0: return use(static_cast<float*>(nullptr));
      case 1: return use(static_cast<double*>(nullptr));
      case 2: return use(static_cast<__half*>(nullptr));
      default: return use(static_cast<__nv_bfloat16*>(nullptr));
    }
  });
}

struct Launch {
  const char* name;

  template <typename Kernel, typename... Arguments>
  void operator()(Kernel kernel, dim3 grid, dim3 block, const Arguments&... arguments) const {
    cuda_host::launch(name, kernel, grid, block, 0, arguments...);
  }
};

template <typename Pointer>
using Pointee = std::remove_pointer_t<Pointer>;

} // namespace

// Each function returns a description of the fault, or an empty string.
extern "C" {

const char* abn_plan(Call* call) {
  return with_type(call->type, [&](auto type) {
    using T = Pointee<decltype(type)>;
    const Plan plan = plan_of<T>(*call);
    call->workspace_size = workspace_size(plan);
    call->splits = plan.splits();
    const uint64_t pack = access_bytes / sizeof(T);
    call->packed =
        plan.interleaved ? plan.packs : plan.geometry.vectors && plan.geometry.lead == 0 && call->inner % pack == 0;
  });
}

const char* abn_moments(const Call* call) {
  return with_type(call->type, [&](auto type) {
    using T = Pointee<decltype(type)>;
    using A = Accumulate<T>;
    const Plan plan = plan_of<T>(*call);
    give<T>(*call, plan, false);
    launch_moments(
        Launch{"abn_moments"}, plan, static_cast<const T*>(call->x), static_cast<A*>(call->workspace),
        static_cast<A*>(call->result));
  });
}

const char* abn_normalize(const Call* call) {
  return with_type(call->type, [&](auto type) {
    using T = Pointee<decltype(type)>;
    const Plan plan = plan_of<T>(*call);
    give<T>(*call, plan, true);
    launch_normalize(
        Launch{"abn_normalize"}, plan, static_cast<T*>(call->x), static_cast<const T*>(call->residual),
        static_cast<const Accumulate<T>*>(call->moments), affine_of<T>(*call));
  });
}

const char* abn_sums(const Call* call) {
  return with_type(call->type, [&](auto type) {
    using T = Pointee<decltype(type)>;
    using A = Accumulate<T>;
    const Plan plan = plan_of<T>(*call);
    give<T>(*call, plan, false);
    launch_sums(
        Launch{"abn_sums"}, plan, outputs_of<T>(*call), affine_of<T>(*call), static_cast<A*>(call->workspace),
        static_cast<A*>(call->result));
  });
}

const char* abn_gradient(const Call* call) {
  return with_type(call->type, [&](auto type) {
    using T = Pointee<decltype(type)>;
    using A = Accumulate<T>;
    const Plan plan = plan_of<T>(*call);
    give<T>(*call, plan, false);
    launch_gradient(
        Launch{"abn_gradient"}, plan, outputs_of<T>(*call), static_cast<const A*>(call->means), call->means_scale,
        static_cast<const A*>(call->moments), affine_of<T>(*call), static_cast<T*>(call->dx),
        static_cast<T*>(call->dr));
  });
}
}
