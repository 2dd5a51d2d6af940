// CPU operators of in-place activated BatchNorm. layer_cpu.h divides the work of a layer, and kernels_cpu.inl has the
// kernels.

#include <tuple>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "layer_cpu.h"

namespace seamseg::inplace_abn {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

double variance(const Moments& moments) { return moments.count > 0 ? moments.deviation / moments.count : 0; }

template <typename T>
Tensor stored(const std::vector<Moments>& moments, const Tensor& x) {
  Tensor result = two_per_channel(x);
  auto* out = mutable_pointer<Compute<T>>(result);
  for (size_t channel = 0; channel < moments.size(); ++channel) {
    out[channel] = static_cast<Compute<T>>(moments[channel].mean);
    out[moments.size() + channel] = static_cast<Compute<T>>(variance(moments[channel]));
  }
  return result;
}

template <typename T>
Tensor stored(const std::vector<Sums>& sums, const Tensor& gamma, const Tensor& x) {
  Tensor result = two_per_channel(x);
  auto* out = mutable_pointer<Compute<T>>(result);
  for (size_t channel = 0; channel < sums.size(); ++channel) {
    out[channel] = static_cast<Compute<T>>(sums[channel].dy);
    out[sums.size() + channel] = static_cast<Compute<T>>(sums[channel].dy_y / pointer<Compute<T>>(gamma)[channel]);
  }
  return result;
}

// ---- one type -----------------------------------------------------------------------------------------------------

template <typename T>
Tensor moments_of(const Tensor& x) {
  return stored<T>(Layer<T>(x, "abn_moments", 0, 1).moments(pointer<T>(x)), x);
}

template <typename T>
void normalize(
    const Tensor& x, const OptionalTensor& residual, const Tensor& moments, const Tensor& gamma, const Tensor& beta,
    double eps, int64_t activation, double slope) {
  const auto* values = pointer<Compute<T>>(moments);
  ForwardScales<T> scales(gamma, beta, eps);
  for (int64_t channel = 0; channel < x.size(1); ++channel) {
    scales.set(channel, values[channel], values[x.size(1) + channel]);
  }
  Layer<T>(x, "abn_normalize_", activation, slope).normalize(mutable_pointer<T>(x), pointer<T>(residual), scales);
}

template <typename T>
Tensor train(
    const Tensor& x, const OptionalTensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
    int64_t activation, double slope) {
  const Layer<T> layer(x, "abn_train_", activation, slope);
  if (!layer.has_channels_for_threads()) {
    Tensor moments = moments_of<T>(x);
    normalize<T>(x, residual, moments, gamma, beta, eps, activation, slope);
    return moments;
  }
  auto* values = mutable_pointer<T>(x);
  std::vector<Moments> moments(x.size(1));
  ForwardScales<T> scales(gamma, beta, eps);
  layer.for_channels([&](int64_t channel, int64_t num) {
    const Moments own = layer.channel_moments(values, channel, 0, num);
    scales.set(channel, own.mean, variance(own));
    layer.normalize_channel(values, pointer<T>(residual), channel, 0, num, scales.of(channel));
    moments[channel] = own;
  });
  return stored<T>(moments, x);
}

template <typename T>
Tensor sums_of(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& gamma, const Tensor& beta,
    int64_t activation, double slope) {
  const Layer<T> layer(z, "abn_sums", activation, slope);
  return stored<T>(
      layer.sums({pointer<T>(z), pointer<T>(residual)}, pointer<T>(dz), pointer<Compute<T>>(beta)), gamma, z);
}

// Allocates dx, and the residual's gradient if there is a residual.
std::tuple<Tensor, Tensor> gradients_like(const Tensor& z, const OptionalTensor& residual) {
  Tensor dx = torch::stable::empty_like(z);
  Tensor dr = residual.has_value() ? torch::stable::empty_like(z) : torch::stable::new_empty(z, {0});
  return {dx, dr};
}

// Gradients of at least this size leave the caches before they are read again.
constexpr int64_t bytes_beyond_caches = 8 << 20;

template <typename T>
Gradients<T> gradients(const Tensor& dz, const Tensor& dx, const Tensor& dr) {
  const bool streams = dx.numel() * static_cast<int64_t>(sizeof(T)) >= bytes_beyond_caches;
  return {pointer<T>(dz), mutable_pointer<T>(dx), mutable_pointer<T>(dr), streams};
}

template <typename T>
std::tuple<Tensor, Tensor> gradient(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& means, const Tensor& moments,
    const Tensor& gamma, const Tensor& beta, double eps, int64_t activation, double slope) {
  const auto* values = pointer<Compute<T>>(means);
  BackwardScales<T> scales(moments, gamma, beta, eps);
  for (int64_t channel = 0; channel < z.size(1); ++channel) {
    scales.set(channel, values[channel], values[z.size(1) + channel]);
  }
  const auto [dx, dr] = gradients_like(z, residual);
  Layer<T>(z, "abn_gradient", activation, slope)
      .gradient({pointer<T>(z), pointer<T>(residual)}, gradients<T>(dz, dx, dr), scales);
  return {dx, dr};
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> train_gradient(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& moments, const Tensor& gamma,
    const Tensor& beta, double eps, int64_t activation, double slope) {
  const Layer<T> layer(z, "abn_train_gradient", activation, slope);
  const auto [dx, dr] = gradients_like(z, residual);
  const Input<T> input{pointer<T>(z), pointer<T>(residual)};
  const Gradients<T> to = gradients<T>(dz, dx, dr);
  const auto count = static_cast<double>(std::max<int64_t>(shape_of(z, "abn_train_gradient").num_samples(), 1));
  BackwardScales<T> scales(moments, gamma, beta, eps);
  std::vector<Sums> sums(z.size(1));
  if (layer.has_channels_for_threads()) {
    layer.for_channels([&](int64_t channel, int64_t num) {
      sums[channel] = layer.channel_sums(input, to.dz, channel, 0, num, pointer<Compute<T>>(beta)[channel]);
      scales.set(channel, sums[channel], count);
      layer.channel_gradient(input, to, channel, 0, num, scales.of(channel));
    });
  } else {
    sums = layer.sums(input, to.dz, pointer<Compute<T>>(beta));
    for (int64_t channel = 0; channel < z.size(1); ++channel) {
      scales.set(channel, sums[channel], count);
    }
    layer.gradient(input, to, scales);
  }
  return {dx, dr, stored<T>(sums, gamma, z)};
}

// ---- operators: check the arguments and dispatch on the type ------------------------------------------------------

// Calls `use` with a value of the type of the samples.
template <typename Use>
auto with_type(const Tensor& x, const Use& use) {
  switch (x.scalar_type()) {
    case ScalarType::Double: return use(double());
    case ScalarType::BFloat16: return use(BFloat16());
    case ScalarType::Half: return use(Half());
    default: return use(float());
  }
}

Tensor abn_moments(Tensor x) {
  shape_of(x, "abn_moments");
  return with_type(x, [&](auto type) { return moments_of<decltype(type)>(x); });
}

void abn_normalize_(
    Tensor x, OptionalTensor residual, Tensor moments, Tensor gamma, Tensor beta, double eps, int64_t activation,
    double slope) {
  check_forward(x, residual, gamma, beta, activation, "abn_normalize_");
  check_moments(moments, x, "abn_normalize_");
  with_type(
      x, [&](auto type) { normalize<decltype(type)>(x, residual, moments, gamma, beta, eps, activation, slope); });
}

Tensor abn_train_(
    Tensor x, OptionalTensor residual, Tensor gamma, Tensor beta, double eps, int64_t activation, double slope) {
  check_forward(x, residual, gamma, beta, activation, "abn_train_");
  return with_type(
      x, [&](auto type) { return train<decltype(type)>(x, residual, gamma, beta, eps, activation, slope); });
}

Tensor abn_sums(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor gamma, Tensor beta, int64_t activation, double slope) {
  check_backward(z, dz, residual, gamma, beta, activation, "abn_sums");
  return with_type(
      z, [&](auto type) { return sums_of<decltype(type)>(z, dz, residual, gamma, beta, activation, slope); });
}

std::tuple<Tensor, Tensor> abn_gradient(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor means, Tensor moments, Tensor gamma, Tensor beta, double eps,
    int64_t activation, double slope) {
  check_backward(z, dz, residual, gamma, beta, activation, "abn_gradient");
  check_moments(means, z, "abn_gradient");
  check_moments(moments, z, "abn_gradient");
  return with_type(z, [&](auto type) {
    return gradient<decltype(type)>(z, dz, residual, means, moments, gamma, beta, eps, activation, slope);
  });
}

std::tuple<Tensor, Tensor, Tensor> abn_train_gradient(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor moments, Tensor gamma, Tensor beta, double eps,
    int64_t activation, double slope) {
  check_backward(z, dz, residual, gamma, beta, activation, "abn_train_gradient");
  check_moments(moments, z, "abn_train_gradient");
  return with_type(z, [&](auto type) {
    return train_gradient<decltype(type)>(z, dz, residual, moments, gamma, beta, eps, activation, slope);
  });
}

} // namespace
} // namespace seamseg::inplace_abn

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  using namespace seamseg::inplace_abn;
  library.impl("abn_moments", TORCH_BOX(&abn_moments));
  library.impl("abn_normalize_", TORCH_BOX(&abn_normalize_));
  library.impl("abn_train_", TORCH_BOX(&abn_train_));
  library.impl("abn_sums", TORCH_BOX(&abn_sums));
  library.impl("abn_gradient", TORCH_BOX(&abn_gradient));
  library.impl("abn_train_gradient", TORCH_BOX(&abn_train_gradient));
}
