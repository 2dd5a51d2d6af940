// CPU operators of in-place activated BatchNorm. layer_cpu.h divides the work of a layer, and kernels_cpu.inl has the
// kernels.

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "layer_cpu.h"

namespace seamseg::inplace_abn {
namespace {

template <typename T>
Tensor stored(const std::vector<Moments>& moments, const Tensor& x) {
  Tensor result = two_per_channel(x);
  auto* out = mutable_pointer<Compute<T>>(result);
  for (size_t channel = 0; channel < moments.size(); ++channel) {
    out[channel] = static_cast<Compute<T>>(moments[channel].mean);
    out[moments.size() + channel] = static_cast<Compute<T>>(moments[channel].variance());
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
  auto* z = mutable_pointer<T>(x);
  Layer<T>(x, "abn_normalize_", activation, slope).normalize({z, pointer<T>(residual)}, z, scales);
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
    scales.set(channel, own.mean, own.variance());
    layer.normalize_channel({values, pointer<T>(residual)}, values, channel, 0, num, scales.of(channel));
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

template <typename T>
std::tuple<Tensor, Tensor> gradient(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& means, const Tensor& moments,
    const Tensor& gamma, const Tensor& beta, double eps, int64_t activation, double slope) {
  const auto* values = pointer<Compute<T>>(means);
  BatchBackwardScales<T> scales(moments, gamma, beta, eps);
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
  BatchBackwardScales<T> scales(moments, gamma, beta, eps);
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

// ---- a layer with its parameters and running statistics in float32 --------------------------------------------------
// One call per pass: for small inputs, calls take longer than the work.

void check_type(const Tensor& x, const char* op) {
  check(x.scalar_type() != ScalarType::Double, op, "the input must be float32, bfloat16 or float16");
}

// Relation of gamma and the weight, as `scale` in seamseg/ops/inplace_abn.py: 0 None, 1 abs, 2 signed.
float gamma_of(float weight, int64_t scale, float eps) {
  if (scale == 0) {
    return weight;
  }
  return scale == 1 ? std::abs(weight) + eps : weight >= 0 ? weight + eps : weight - eps;
}

Tensor gammas_of(const Tensor& weight, int64_t scale, double eps) {
  Tensor gamma = torch::stable::empty_like(weight);
  const auto* from = pointer<float>(weight);
  auto* to = mutable_pointer<float>(gamma);
  for (int64_t channel = 0; channel < weight.size(0); ++channel) {
    to[channel] = gamma_of(from[channel], scale, static_cast<float>(eps));
  }
  return gamma;
}

// Moves a row of running statistics toward `factor` times those of the batch.
void move_toward(const Tensor& running, const float* batch, double factor, double momentum) {
  auto* values = mutable_pointer<float>(running);
  for (int64_t channel = 0; channel < running.size(0); ++channel) {
    const float target = batch[channel] * static_cast<float>(factor);
    values[channel] += static_cast<float>(momentum) * (target - values[channel]);
  }
}

Tensor abn_layer_train_(
    Tensor x, OptionalTensor residual, Tensor weight, Tensor bias, OptionalTensor running_mean,
    OptionalTensor running_var, OptionalTensor num_batches, double momentum, int64_t scale, double eps,
    int64_t activation, double slope) {
  constexpr auto* op = "abn_layer_train_";
  check_type(x, op);
  check_forward(x, residual, weight, bias, activation, op);
  Tensor moments = abn_train_(x, residual, gammas_of(weight, scale, eps), bias, eps, activation, slope);
  const int64_t count = shape_of(x, op).num_samples();
  if (running_mean.has_value() && running_var.has_value() && num_batches.has_value() && count > 0) {
    check_affine(*running_mean, *running_var, x, 0, op);
    check(num_batches->numel() == 1 && num_batches->scalar_type() == ScalarType::Long, op, "the count must be int64");
    const auto* batch = pointer<float>(moments);
    move_toward(*running_mean, batch, 1, momentum);
    move_toward(
        *running_var, batch + x.size(1), static_cast<double>(count) / std::max<int64_t>(count - 1, 1), momentum);
    *mutable_pointer<int64_t>(*num_batches) += 1;
  }
  return moments;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> abn_layer_gradient(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor weight, Tensor bias, Tensor moments, int64_t scale, double eps,
    int64_t activation, double slope) {
  constexpr auto* op = "abn_layer_gradient";
  check_type(z, op);
  check_backward(z, dz, residual, weight, bias, activation, op);
  check_moments(moments, z, op);
  const auto [dx, dr, sums] =
      abn_train_gradient(z, dz, residual, moments, gammas_of(weight, scale, eps), bias, eps, activation, slope);
  const int64_t channels = z.size(1);
  Tensor dweight = torch::stable::empty_like(weight);
  Tensor dbias = torch::stable::empty_like(bias);
  const auto* from = pointer<float>(sums);
  const auto* weights = pointer<float>(weight);
  auto* to = mutable_pointer<float>(dweight);
  std::copy_n(from, channels, mutable_pointer<float>(dbias));
  for (int64_t channel = 0; channel < channels; ++channel) {
    const bool is_turned = scale == 1 && !(weights[channel] >= 0);
    to[channel] = is_turned ? -from[channels + channel] : from[channels + channel];
  }
  return {dx, dr, dweight, dbias};
}

// Minimum that keeps NaN, which no bound accepts.
float smaller(float a, float b) { return a <= b || std::isnan(a) ? a : b; }

std::tuple<double, double> abn_smallest_gammas(Tensor weight, Tensor bias, double eps, bool elu) {
  check(
      weight.dim() == 1 && bias.dim() == 1 && weight.size(0) == bias.size(0) && weight.is_contiguous() &&
          bias.is_contiguous() && weight.scalar_type() == ScalarType::Float && bias.scalar_type() == ScalarType::Float,
      "abn_smallest_gammas", "weight and bias must have one float32 number per channel, contiguous");
  const auto* weights = pointer<float>(weight);
  const auto* biases = pointer<float>(bias);
  float relative = std::numeric_limits<float>::infinity();
  float smallest = relative;
  for (int64_t channel = 0; channel < weight.size(0); ++channel) {
    const float gamma = std::abs(weights[channel]) + static_cast<float>(eps);
    float size = std::max(std::abs(biases[channel]), 1.0F);
    size = elu ? std::max(size, std::exp(2 * gamma - biases[channel])) : size;
    relative = smaller(relative, gamma / size);
    smallest = smaller(smallest, gamma);
  }
  return {relative, smallest};
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
  library.impl("abn_layer_train_", TORCH_BOX(&abn_layer_train_));
  library.impl("abn_layer_gradient", TORCH_BOX(&abn_layer_gradient));
  library.impl("abn_smallest_gammas", TORCH_BOX(&abn_smallest_gammas));
}
