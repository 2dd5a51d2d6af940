// CUDA operators of in-place activated BatchNorm. launch_cuda.h chooses the kernels and their blocks.

#include "../device_cuda.h"

#include <tuple>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "arguments.h"
#include "launch_cuda.h"

namespace seamseg::inplace_abn::cuda {
namespace {

Tensor two_zeros_per_channel(const Tensor& x) {
  return torch::stable::new_zeros(x, {2, x.size(1)}, accumulate_type(x));
}

template <typename T>
Plan plan_for(const Device& device, const Tensor& x, const char* op, std::initializer_list<const void*> tensors) {
  const Shape shape = shape_of(x, op);
  const auto size = [](int64_t number) { return static_cast<uint64_t>(number); };
  const Extent extent = shape.interleaved ? Extent{size(shape.num_samples()), size(shape.channels), 1, true}
                                          : Extent{size(shape.outer), size(shape.channels), size(shape.inner), false};
  return make_plan<T>(extent, tensors, device.multiprocessors());
}

template <typename T>
Affine<Accumulate<T>> affine_of(const Tensor& gamma, const Tensor& beta, double eps, int64_t activation, double slope) {
  using A = Accumulate<T>;
  return {pointer<A>(gamma), pointer<A>(beta), eps, static_cast<Activation>(activation), slope};
}

// Calls `use` with a null pointer to the type of the samples.
template <typename Use>
void with_type(const Tensor& x, const Use& use) {
  switch (x.scalar_type()) {
    case ScalarType::Double: return use(static_cast<double*>(nullptr));
    case ScalarType::BFloat16: return use(static_cast<__nv_bfloat16*>(nullptr));
    case ScalarType::Half: return use(static_cast<__half*>(nullptr));
    default: return use(static_cast<float*>(nullptr));
  }
}

template <typename Pointer>
using Pointee = std::remove_pointer_t<Pointer>;

// ---- steps for nonempty inputs; their arguments are already checked ------------------------------------------------

Tensor workspace_for(const Plan& plan, const Tensor& x) {
  return torch::stable::new_empty(x, {workspace_size(plan)}, accumulate_type(x));
}

Tensor moments_of(const Device& device, const Tensor& x, const char* op) {
  Tensor result = two_per_channel(x);
  with_type(x, [&](auto type) {
    using T = Pointee<decltype(type)>;
    using A = Accumulate<T>;
    const T* data = pointer<T>(x);
    const Plan plan = plan_for<T>(device, x, op, {data});
    const Tensor workspace = workspace_for(plan, x);
    launch_moments(device, plan, data, mutable_pointer<A>(workspace), mutable_pointer<A>(result));
  });
  return result;
}

void normalize(
    const Device& device, const Tensor& x, const OptionalTensor& residual, const Tensor& moments, const Tensor& gamma,
    const Tensor& beta, double eps, int64_t activation, double slope, const char* op) {
  with_type(x, [&](auto type) {
    using T = Pointee<decltype(type)>;
    T* data = mutable_pointer<T>(x);
    const T* addend = pointer<T>(residual);
    const Plan plan = plan_for<T>(device, x, op, {data, addend});
    const auto affine = affine_of<T>(gamma, beta, eps, activation, slope);
    launch_normalize(device, plan, data, addend, pointer<Accumulate<T>>(moments), affine);
  });
}

Tensor sums_of(
    const Device& device, const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& gamma,
    const Tensor& beta, int64_t activation, double slope, const char* op) {
  Tensor result = two_per_channel(z);
  with_type(z, [&](auto type) {
    using T = Pointee<decltype(type)>;
    using A = Accumulate<T>;
    const Outputs<T> outputs{pointer<T>(z), pointer<T>(dz), pointer<T>(residual)};
    const Plan plan = plan_for<T>(device, z, op, {outputs.z, outputs.dz, outputs.residual});
    const Tensor workspace = workspace_for(plan, z);
    const auto affine = affine_of<T>(gamma, beta, 0, activation, slope);
    launch_sums(device, plan, outputs, affine, mutable_pointer<A>(workspace), mutable_pointer<A>(result));
  });
  return result;
}

std::tuple<Tensor, Tensor> gradients_like(const Tensor& z, const OptionalTensor& residual) {
  Tensor dx = torch::stable::empty_like(z);
  Tensor dr = residual.has_value() ? torch::stable::empty_like(z) : torch::stable::new_empty(z, {0});
  return {dx, dr};
}

std::tuple<Tensor, Tensor> gradient(
    const Device& device, const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& means,
    double means_scale, const Tensor& moments, const Tensor& gamma, const Tensor& beta, double eps, int64_t activation,
    double slope, const char* op) {
  const auto gradients = gradients_like(z, residual);
  with_type(z, [&](auto type) {
    using T = Pointee<decltype(type)>;
    using A = Accumulate<T>;
    const Outputs<T> outputs{pointer<T>(z), pointer<T>(dz), pointer<T>(residual)};
    T* dx = mutable_pointer<T>(std::get<0>(gradients));
    T* dr = mutable_pointer<T>(std::get<1>(gradients));
    const Plan plan = plan_for<T>(device, z, op, {outputs.z, outputs.dz, outputs.residual, dx, dr});
    const auto affine = affine_of<T>(gamma, beta, eps, activation, slope);
    launch_gradient(device, plan, outputs, pointer<A>(means), means_scale, pointer<A>(moments), affine, dx, dr);
  });
  return gradients;
}

// ---- operators -----------------------------------------------------------------------------------------------------

Tensor abn_moments(Tensor x) {
  constexpr auto* op = "abn_moments";
  shape_of(x, op);
  return x.numel() == 0 ? two_zeros_per_channel(x) : moments_of(Device(x, op), x, op);
}

void abn_normalize_(
    Tensor x, OptionalTensor residual, Tensor moments, Tensor gamma, Tensor beta, double eps, int64_t activation,
    double slope) {
  constexpr auto* op = "abn_normalize_";
  check_forward(x, residual, gamma, beta, activation, op);
  check_moments(moments, x, op);
  if (x.numel() != 0) {
    normalize(Device(x, op), x, residual, moments, gamma, beta, eps, activation, slope, op);
  }
}

Tensor abn_train_(
    Tensor x, OptionalTensor residual, Tensor gamma, Tensor beta, double eps, int64_t activation, double slope) {
  constexpr auto* op = "abn_train_";
  check_forward(x, residual, gamma, beta, activation, op);
  if (x.numel() == 0) {
    return two_zeros_per_channel(x);
  }
  const Device device(x, op);
  Tensor moments = moments_of(device, x, op);
  normalize(device, x, residual, moments, gamma, beta, eps, activation, slope, op);
  return moments;
}

Tensor abn_sums(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor gamma, Tensor beta, int64_t activation, double slope) {
  constexpr auto* op = "abn_sums";
  check_backward(z, dz, residual, gamma, beta, activation, op);
  return z.numel() == 0 ? two_zeros_per_channel(z)
                        : sums_of(Device(z, op), z, dz, residual, gamma, beta, activation, slope, op);
}

std::tuple<Tensor, Tensor> abn_gradient(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor means, Tensor moments, Tensor gamma, Tensor beta, double eps,
    int64_t activation, double slope) {
  constexpr auto* op = "abn_gradient";
  check_backward(z, dz, residual, gamma, beta, activation, op);
  check_moments(means, z, op);
  check_moments(moments, z, op);
  if (z.numel() == 0) {
    return gradients_like(z, residual);
  }
  return gradient(Device(z, op), z, dz, residual, means, 1, moments, gamma, beta, eps, activation, slope, op);
}

std::tuple<Tensor, Tensor, Tensor> abn_train_gradient(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor moments, Tensor gamma, Tensor beta, double eps,
    int64_t activation, double slope) {
  constexpr auto* op = "abn_train_gradient";
  check_backward(z, dz, residual, gamma, beta, activation, op);
  check_moments(moments, z, op);
  if (z.numel() == 0) {
    return std::tuple_cat(gradients_like(z, residual), std::tuple(two_zeros_per_channel(z)));
  }
  const Device device(z, op);
  const double share = 1 / static_cast<double>(shape_of(z, op).num_samples());
  Tensor sums = sums_of(device, z, dz, residual, gamma, beta, activation, slope, op);
  const auto gradients =
      gradient(device, z, dz, residual, sums, share, moments, gamma, beta, eps, activation, slope, op);
  return std::tuple_cat(gradients, std::tuple(sums));
}

} // namespace
} // namespace seamseg::inplace_abn::cuda

STABLE_TORCH_LIBRARY_IMPL(seamseg, CUDA, library) {
  using namespace seamseg::inplace_abn::cuda;
  library.impl("abn_moments", TORCH_BOX(&abn_moments));
  library.impl("abn_normalize_", TORCH_BOX(&abn_normalize_));
  library.impl("abn_train_", TORCH_BOX(&abn_train_));
  library.impl("abn_sums", TORCH_BOX(&abn_sums));
  library.impl("abn_gradient", TORCH_BOX(&abn_gradient));
  library.impl("abn_train_gradient", TORCH_BOX(&abn_train_gradient));
}
