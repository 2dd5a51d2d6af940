// In-place activated BatchNorm on the CPU: the operators. How a layer's work is shared out is in layer_cpu.h, the loops
// are in kernels_cpu.inl.

#include <tuple>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "layer_cpu.h"

namespace seamseg::inplace_abn {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

Tensor two_per_channel(const Tensor& x) {
  return torch::stable::new_empty(x, {2, x.size(1)}, accumulate_type(x));
}

template <typename A>
void store(const std::vector<Moments>& moments, A* out) {
  for (size_t channel = 0; channel < moments.size(); ++channel) {
    const Moments& own = moments[channel];
    out[channel] = static_cast<A>(own.mean);
    out[moments.size() + channel] = static_cast<A>(own.count > 0 ? own.deviation / own.count : 0);
  }
}

template <typename T>
Tensor moments_of(const Tensor& x) {
  const Layer<T> layer(x, "abn_moments", 0, 1);
  Tensor result = two_per_channel(x);
  store(layer.all_moments(static_cast<const T*>(x.const_data_ptr())),
        static_cast<Compute<T>*>(result.mutable_data_ptr()));
  return result;
}

template <typename T>
void normalise(
    const Tensor& x, const OptionalTensor& residual, const Tensor& moments, const Tensor& gamma, const Tensor& beta,
    double eps, int64_t activation, double slope) {
  const Layer<T> layer(x, "abn_normalise_", activation, slope);
  const auto* values = static_cast<const Compute<T>*>(moments.const_data_ptr());
  ForwardConstants<T> constants(gamma, beta, eps);
  for (int64_t channel = 0; channel < x.size(1); ++channel) {
    constants.set(channel, values[channel], values[x.size(1) + channel]);
  }
  layer.normalise(static_cast<T*>(x.mutable_data_ptr()), data_or_null<T>(residual), constants.columns());
}

// Statistics and normalisation of a channel follow each other while the channel is in the cache.
template <typename T>
Tensor train(
    const Tensor& input, const OptionalTensor& residual, const Tensor& gamma, const Tensor& beta, double eps,
    int64_t activation, double slope) {
  const Layer<T> layer(input, "abn_train_", activation, slope);
  if (!layer.fits_channels_to_threads()) {
    Tensor moments = moments_of<T>(input);
    normalise<T>(input, residual, moments, gamma, beta, eps, activation, slope);
    return moments;
  }
  auto* x = static_cast<T*>(input.mutable_data_ptr());
  const int64_t samples = layer.shape().num_samples();
  std::vector<Moments> moments(input.size(1));
  ForwardConstants<T> constants(gamma, beta, eps);
  in_parallel(input.size(1), samples, [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel) {
      const Moments own = layer.channel_moments(x, channel, 0, samples);
      moments[channel] = own;
      constants.set(channel, own.mean, own.count > 0 ? own.deviation / own.count : 0);
      layer.normalise_channel(x, data_or_null<T>(residual), channel, constants.columns());
    }
  });
  Tensor result = two_per_channel(input);
  store(moments, static_cast<Compute<T>*>(result.mutable_data_ptr()));
  return result;
}

template <typename A>
void store(const std::vector<Sums>& sums, const A* gamma, A* out) {
  for (size_t channel = 0; channel < sums.size(); ++channel) {
    out[channel] = static_cast<A>(sums[channel].dy);
    out[sums.size() + channel] = static_cast<A>(sums[channel].dy_y / gamma[channel]);
  }
}

template <typename T>
Tensor sums_of(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& gamma, const Tensor& beta,
    int64_t activation, double slope) {
  using A = Compute<T>;
  const Layer<T> layer(z, "abn_sums", activation, slope);
  const std::vector<Sums> sums = layer.all_sums(
      static_cast<const T*>(z.const_data_ptr()), static_cast<const T*>(dz.const_data_ptr()), data_or_null<T>(residual),
      static_cast<const A*>(beta.const_data_ptr()));
  Tensor result = two_per_channel(z);
  store(sums, static_cast<const A*>(gamma.const_data_ptr()), static_cast<A*>(result.mutable_data_ptr()));
  return result;
}

// dx, and the residual's gradient or nothing.
std::tuple<Tensor, Tensor> gradients_like(const Tensor& z, const OptionalTensor& residual) {
  Tensor dx = torch::stable::empty_like(z);
  Tensor dr = residual.has_value() ? torch::stable::empty_like(z) : torch::stable::new_empty(z, {0});
  return {dx, dr};
}

template <typename T>
T* pointer(const Tensor& tensor) {
  return tensor.numel() == 0 ? nullptr : static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
std::tuple<Tensor, Tensor> gradient(
    const Tensor& z, const Tensor& dz, const OptionalTensor& residual, const Tensor& means, const Tensor& moments,
    const Tensor& gamma, const Tensor& beta, double eps, int64_t activation, double slope) {
  const Layer<T> layer(z, "abn_gradient", activation, slope);
  const auto* values = static_cast<const Compute<T>*>(means.const_data_ptr());
  BackwardConstants<T> constants(moments, gamma, beta, eps);
  for (int64_t channel = 0; channel < z.size(1); ++channel) {
    constants.set(channel, values[channel], values[z.size(1) + channel]);
  }
  const auto [dx, dr] = gradients_like(z, residual);
  layer.gradient(
      static_cast<const T*>(z.const_data_ptr()), static_cast<const T*>(dz.const_data_ptr()), data_or_null<T>(residual),
      pointer<T>(dx), pointer<T>(dr), constants.columns());
  return {dx, dr};
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> train_gradient(
    const Tensor& output, const Tensor& output_gradient, const OptionalTensor& residual, const Tensor& moments,
    const Tensor& gamma, const Tensor& beta, double eps, int64_t activation, double slope) {
  const Layer<T> layer(output, "abn_train_gradient", activation, slope);
  const auto* z = static_cast<const T*>(output.const_data_ptr());
  const auto* dz = static_cast<const T*>(output_gradient.const_data_ptr());
  const auto* r = data_or_null<T>(residual);
  const auto [dx, dr] = gradients_like(output, residual);
  T* to_input = pointer<T>(dx);
  T* to_residual = pointer<T>(dr);
  const int64_t channels = output.size(1);
  const int64_t samples = layer.shape().num_samples();
  const auto count = static_cast<double>(std::max<int64_t>(samples, 1));
  BackwardConstants<T> constants(moments, gamma, beta, eps);
  const auto set = [&](int64_t channel, const Sums& own) {
    constants.set(channel, own.dy / count, own.dy_y / constants.gamma[channel] / count);
  };
  std::vector<Sums> sums;
  if (layer.fits_channels_to_threads()) {
    sums.resize(channels);
    in_parallel(channels, samples, [&](int64_t begin, int64_t end) {
      for (int64_t channel = begin; channel < end; ++channel) {
        sums[channel] = layer.channel_sums(z, dz, r, constants.beta, channel, 0, samples);
        set(channel, sums[channel]);
        layer.gradient_channel(z, dz, r, to_input, to_residual, channel, constants.columns());
      }
    });
  } else {
    sums = layer.all_sums(z, dz, r, constants.beta);
    for (int64_t channel = 0; channel < channels; ++channel) {
      set(channel, sums[channel]);
    }
    layer.gradient(z, dz, r, to_input, to_residual, constants.columns());
  }
  Tensor result = two_per_channel(output);
  store(sums, constants.gamma, static_cast<Compute<T>*>(result.mutable_data_ptr()));
  return {dx, dr, result};
}

// ---- operators: arguments checked, type chosen --------------------------------------------------------------------

// Calls use with a value of the type.
template <typename Use>
auto with_type(const Tensor& x, const Use& use) {
  switch (x.scalar_type()) {
    case ScalarType::Double:
      return use(double());
    case ScalarType::BFloat16:
      return use(BFloat16());
    case ScalarType::Half:
      return use(Half());
    default:
      return use(float());
  }
}

Tensor abn_moments(Tensor x) {
  shape_of(x, "abn_moments");
  return with_type(x, [&](auto type) { return moments_of<decltype(type)>(x); });
}

void abn_normalise_(
    Tensor x, OptionalTensor residual, Tensor moments, Tensor gamma, Tensor beta, double eps, int64_t activation,
    double slope) {
  check_forward(x, residual, gamma, beta, activation, "abn_normalise_");
  check_moments(moments, x, "abn_normalise_");
  with_type(x, [&](auto type) {
    normalise<decltype(type)>(x, residual, moments, gamma, beta, eps, activation, slope);
  });
}

Tensor abn_train_(
    Tensor x, OptionalTensor residual, Tensor gamma, Tensor beta, double eps, int64_t activation, double slope) {
  check_forward(x, residual, gamma, beta, activation, "abn_train_");
  return with_type(x, [&](auto type) {
    return train<decltype(type)>(x, residual, gamma, beta, eps, activation, slope);
  });
}

Tensor abn_sums(
    Tensor z, Tensor dz, OptionalTensor residual, Tensor gamma, Tensor beta, int64_t activation, double slope) {
  check_backward(z, dz, residual, gamma, beta, activation, "abn_sums");
  return with_type(z, [&](auto type) {
    return sums_of<decltype(type)>(z, dz, residual, gamma, beta, activation, slope);
  });
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
  library.impl("abn_normalise_", TORCH_BOX(&abn_normalise_));
  library.impl("abn_train_", TORCH_BOX(&abn_train_));
  library.impl("abn_sums", TORCH_BOX(&abn_sums));
  library.impl("abn_gradient", TORCH_BOX(&abn_gradient));
  library.impl("abn_train_gradient", TORCH_BOX(&abn_train_gradient));
}
