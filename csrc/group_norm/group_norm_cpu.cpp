// CPU operators of group norm in channels last, and its gradient. The kernels are those of in-place activated BatchNorm
// without an activation, applied to one image at a time: the statistics of a group are constants of its channels.

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>

#include "../check.h"
#include "../inplace_abn/layer_cpu.h"
#include "../tensors.h"

namespace seamseg::group_norm {
namespace {

using inplace_abn::BackwardScales;
using inplace_abn::ForwardScales;
using inplace_abn::Gradients;
using inplace_abn::Layer;
using inplace_abn::Moments;
using inplace_abn::Shape;
using inplace_abn::Sums;
using torch::headeronly::MemoryFormat;
using torch::stable::Tensor;

// A batch whose neighboring channels form groups.
struct Batch {
  int64_t images;
  int64_t channels;
  int64_t pixels; // per image
  int64_t groups;

  Batch(const Tensor& x, int64_t groups)
      : images(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)), groups(groups) {}

  int64_t group_of(int64_t channel) const { return channel * groups / channels; }
  int64_t size() const { return channels * pixels; } // values per image
  double group_size() const { return static_cast<double>(std::max<int64_t>(size() / groups, 1)); }

  // The kernels for one image, without an activation.
  template <typename T>
  Layer<T> layer() const {
    return Layer<T>(Shape{1, channels, pixels, true}, 0, 1);
  }

  // Calls use(image) for all images: on all threads if there are enough images, and otherwise one after the other, so
  // that each can use all threads.
  template <typename Use>
  void for_images(const Use& use) const {
    const auto for_range = [&](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        use(image);
      }
    };
    if (images < static_cast<int64_t>(torch::stable::get_num_threads())) {
      for_range(0, images);
    } else {
      inplace_abn::in_parallel(images, size(), for_range);
    }
  }
};

// ---- one type -------------------------------------------------------------------------------------------------------

template <typename T>
std::tuple<Tensor, Tensor> normalize(
    const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  using A = Compute<T>;
  const Batch batch(x, groups);
  const Layer<T> layer = batch.layer<T>();
  Tensor y = torch::stable::empty_like(x);
  Tensor statistics = torch::stable::new_empty(x, {batch.images, 2, groups}, inplace_abn::accumulate_type(x));
  auto* to = mutable_pointer<T>(y);
  auto* values = mutable_pointer<A>(statistics);
  batch.for_images([&](int64_t image) {
    const T* from = pointer<T>(x) + image * batch.size();
    std::vector<Moments> moments(groups);
    const std::vector<Moments> of_channels = layer.moments(from);
    for (int64_t channel = 0; channel < batch.channels; ++channel) {
      moments[batch.group_of(channel)].merge(of_channels[channel]);
    }
    for (int64_t group = 0; group < groups; ++group) {
      values[2 * image * groups + group] = static_cast<A>(moments[group].mean);
      values[(2 * image + 1) * groups + group] = static_cast<A>(1 / std::sqrt(moments[group].variance() + eps));
    }
    ForwardScales<T> scales(weight, bias, eps);
    for (int64_t channel = 0; channel < batch.channels; ++channel) {
      const Moments& own = moments[batch.group_of(channel)];
      scales.set(channel, own.mean, own.variance());
    }
    layer.normalize({from, nullptr}, to + image * batch.size(), scales);
  });
  return {y, statistics};
}

// Writes the gradient of one image and returns the sums of dy and of the normalized input times dy, per channel.
template <typename T>
std::vector<Sums> image_gradient(
    const Batch& batch, const T* x, Gradients<T> to, const Compute<T>* statistics, const Compute<T>* weight) {
  const Compute<T>* rstds = statistics + batch.groups;
  std::vector<Compute<T>> means(batch.channels);
  for (int64_t channel = 0; channel < batch.channels; ++channel) {
    means[channel] = statistics[batch.group_of(channel)];
  }
  const Layer<T> layer = batch.layer<T>();
  std::vector<Sums> sums = layer.sums({x, nullptr}, to.dz, means.data());
  std::vector<Sums> of_groups(batch.groups);
  for (int64_t channel = 0; channel < batch.channels; ++channel) {
    const int64_t group = batch.group_of(channel);
    sums[channel].dy_y *= rstds[group];
    of_groups[group].dy += weight[channel] * sums[channel].dy;
    of_groups[group].dy_y += weight[channel] * sums[channel].dy_y;
  }
  BackwardScales<T> scales(means.data(), batch.channels);
  for (int64_t channel = 0; channel < batch.channels; ++channel) {
    const Sums& group = of_groups[batch.group_of(channel)];
    const double rstd = rstds[batch.group_of(channel)];
    const double share = rstd / batch.group_size();
    scales.set_constants(channel, weight[channel] * rstd, -share * rstd * group.dy_y, -share * group.dy);
  }
  layer.gradient({x, nullptr}, to, scales);
  return sums;
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> gradient(
    const Tensor& x, const Tensor& dy, const Tensor& statistics, const Tensor& weight) {
  using A = Compute<T>;
  const Batch batch(x, statistics.size(2));
  Tensor dx = torch::stable::empty_like(x);
  Tensor dweight = torch::stable::empty_like(weight);
  Tensor dbias = torch::stable::empty_like(weight);
  const Gradients<T> to = inplace_abn::gradients<T>(dy, dx, torch::stable::new_empty(x, {0}));
  std::vector<std::vector<Sums>> sums(batch.images);
  batch.for_images([&](int64_t image) {
    const int64_t offset = image * batch.size();
    const A* own = pointer<A>(statistics) + 2 * image * batch.groups;
    sums[image] = image_gradient(batch, pointer<T>(x) + offset, to.at(offset), own, pointer<A>(weight));
  });
  auto* weights = mutable_pointer<A>(dweight);
  auto* biases = mutable_pointer<A>(dbias);
  for (int64_t channel = 0; channel < batch.channels; ++channel) {
    Sums total;
    for (const std::vector<Sums>& of_image : sums) {
      total.dy += of_image[channel].dy;
      total.dy_y += of_image[channel].dy_y;
    }
    weights[channel] = static_cast<A>(total.dy_y);
    biases[channel] = static_cast<A>(total.dy);
  }
  return {dx, dweight, dbias};
}

// ---- operators: check the arguments and dispatch on the type --------------------------------------------------------

Tensor in_channels_last(const Tensor& x) { return torch::stable::contiguous(x, MemoryFormat::ChannelsLast); }

void check_arguments(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, const char* op) {
  check(x.dim() == 4, op, "the input must have the shape N x C x H x W");
  check(groups > 0 && x.size(1) % groups == 0, op, "the number of groups must divide the number of channels");
  inplace_abn::check_affine(weight, bias, x, 0, op);
}

std::tuple<Tensor, Tensor> group_norm(Tensor given, int64_t groups, Tensor weight, Tensor bias, double eps) {
  constexpr auto* op = "group_norm";
  check_arguments(given, groups, weight, bias, op);
  const Tensor x = in_channels_last(given);
  inplace_abn::shape_of(x, op);
  return inplace_abn::with_type(
      x, [&](auto type) { return normalize<decltype(type)>(x, groups, weight, bias, eps); });
}

std::tuple<Tensor, Tensor, Tensor> group_norm_gradient(
    Tensor given, Tensor upstream, Tensor statistics, Tensor weight) {
  constexpr auto* op = "group_norm_gradient";
  check(
      statistics.dim() == 3 && statistics.is_contiguous() && statistics.size(0) == given.size(0) &&
          statistics.size(1) == 2 && statistics.scalar_type() == inplace_abn::accumulate_type(given),
      op, "the statistics must be two numbers per image and group");
  check_arguments(given, statistics.size(2), weight, weight, op);
  const Tensor x = in_channels_last(given);
  const Tensor dy = in_channels_last(upstream);
  inplace_abn::shape_of(x, op);
  inplace_abn::check_like(dy, x, op, "the gradient must have the output's type, device and shape");
  return inplace_abn::with_type(x, [&](auto type) { return gradient<decltype(type)>(x, dy, statistics, weight); });
}

} // namespace
} // namespace seamseg::group_norm

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("group_norm", TORCH_BOX(&seamseg::group_norm::group_norm));
  library.impl("group_norm_gradient", TORCH_BOX(&seamseg::group_norm::group_norm_gradient));
}
