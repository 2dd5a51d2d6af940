// One layer in one type: shares its channels or rows out to the kernels and to the threads.

#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "split_cpu.h"

namespace seamseg::inplace_abn {

template <typename T>
const T* data_or_null(const OptionalTensor& tensor) {
  return tensor.has_value() ? static_cast<const T*>(tensor->const_data_ptr()) : nullptr;
}

template <typename T>
const T* shifted(const T* data, int64_t offset) {
  return data == nullptr ? nullptr : data + offset;
}

template <typename T>
class Layer {
  using A = Compute<T>;

 public:
  Layer(const Tensor& x, const char* op, int64_t activation, double slope)
      : shape_(shape_of(x, op)), activation_(activation), slope_(static_cast<A>(slope)) {}

  const Shape& shape() const { return shape_; }

  bool fits_channels_to_threads() const {
    return !shape_.interleaved && shape_.channels >= static_cast<int64_t>(torch::stable::get_num_threads());
  }

  Moments channel_moments(const T* x, int64_t channel, int64_t begin, int64_t end) const {
    Moments moments;
    for_runs(shape_, channel, begin, end, [&](int64_t offset, int64_t num) {
      kernels<T>().run_moments(x + offset, num, moments);
    });
    return moments;
  }

  std::vector<Moments> all_moments(const T* x) const {
    return reduce<Moments>(
        [&](int64_t channel, int64_t begin, int64_t end) { return channel_moments(x, channel, begin, end); },
        [&](int64_t begin, int64_t end, Moments* moments) {
          kernels<T>().rows_moments(x + begin * shape_.channels, end - begin, shape_.channels, moments);
        },
        [](Moments& total, const Moments& part) { total.merge(part); });
  }

  // From one number of each constant per channel.
  void normalise(T* x, const T* residual, ForwardColumns<A> constants) const {
    if (!shape_.interleaved) {
      const int64_t samples = shape_.num_samples();
      in_parallel(shape_.channels, samples, [&](int64_t begin, int64_t end) {
        for (int64_t channel = begin; channel < end; ++channel) {
          normalise_channel(x, residual, channel, constants);
        }
      });
      return;
    }
    for_rows([&](int64_t offset, int64_t rows) {
      kernels<T>().normalise[activation_](
          x + offset, shifted(residual, offset), rows, shape_.channels, constants, slope_);
    });
  }

  void normalise_channel(T* x, const T* residual, int64_t channel, ForwardColumns<A> constants) const {
    alignas(64) A columns[3][tile];
    fill(columns[0], constants.mean[channel]);
    fill(columns[1], constants.factor[channel]);
    fill(columns[2], constants.beta[channel]);
    for_tile_rows(shape_, channel, 0, shape_.num_samples(), [&](int64_t offset, int64_t rows, int64_t num) {
      kernels<T>().normalise[activation_](
          x + offset, shifted(residual, offset), rows, num, {columns[0], columns[1], columns[2]}, slope_);
    });
  }

  Sums channel_sums(
      const T* z, const T* dz, const T* residual, const A* beta, int64_t channel, int64_t begin, int64_t end) const {
    Sums sums;
    for_runs(shape_, channel, begin, end, [&](int64_t offset, int64_t num) {
      kernels<T>().run_sums[activation_](
          z + offset, dz + offset, shifted(residual, offset), num, beta[channel], slope_, sums);
    });
    return sums;
  }

  std::vector<Sums> all_sums(const T* z, const T* dz, const T* residual, const A* beta) const {
    return reduce<Sums>(
        [&](int64_t channel, int64_t begin, int64_t end) {
          return channel_sums(z, dz, residual, beta, channel, begin, end);
        },
        [&](int64_t begin, int64_t end, Sums* sums) {
          const int64_t at = begin * shape_.channels;
          kernels<T>().rows_sums[activation_](
              z + at, dz + at, shifted(residual, at), end - begin, shape_.channels, beta, slope_, sums);
        },
        [](Sums& total, const Sums& part) {
          total.dy += part.dy;
          total.dy_y += part.dy_y;
        });
  }

  void gradient(const T* z, const T* dz, const T* residual, T* dx, T* dr, BackwardColumns<A> constants) const {
    if (!shape_.interleaved) {
      in_parallel(shape_.channels, shape_.num_samples(), [&](int64_t begin, int64_t end) {
        for (int64_t channel = begin; channel < end; ++channel) {
          gradient_channel(z, dz, residual, dx, dr, channel, constants);
        }
      });
      return;
    }
    for_rows([&](int64_t offset, int64_t rows) {
      kernels<T>().gradient[activation_](
          z + offset, dz + offset, shifted(residual, offset), dx + offset, dr == nullptr ? nullptr : dr + offset, rows,
          shape_.channels, constants, slope_);
    });
  }

  void gradient_channel(
      const T* z, const T* dz, const T* residual, T* dx, T* dr, int64_t channel, BackwardColumns<A> constants) const {
    alignas(64) A columns[4][tile];
    fill(columns[0], constants.beta[channel]);
    fill(columns[1], constants.factor[channel]);
    fill(columns[2], constants.slope[channel]);
    fill(columns[3], constants.offset[channel]);
    for_tile_rows(shape_, channel, 0, shape_.num_samples(), [&](int64_t offset, int64_t rows, int64_t num) {
      kernels<T>().gradient[activation_](
          z + offset, dz + offset, shifted(residual, offset), dx + offset, dr == nullptr ? nullptr : dr + offset, rows,
          num, {columns[0], columns[1], columns[2], columns[3]}, slope_);
    });
  }

 private:
  void fill(A* columns, A value) const {
    std::fill_n(columns, std::min(tile, shape_.inner), value);
  }

  template <typename Use>
  void for_rows(const Use& use) const {
    in_parallel(shape_.num_samples(), shape_.channels, [&](int64_t begin, int64_t end) {
      use(begin * shape_.channels, end - begin);
    });
  }

  // One result per channel, from parts that threads worked out on their own.
  template <typename Result, typename OfChannel, typename OfRows, typename Merge>
  std::vector<Result> reduce(const OfChannel& of_channel, const OfRows& of_rows, const Merge& merge) const {
    const Partition partition = shape_.interleaved ? interleaved_partition(shape_) : planar_partition(shape_);
    const int64_t channels = shape_.channels;
    std::vector<Result> results(channels * partition.parts);
    if (shape_.interleaved) {
      torch::stable::parallel_for(0, partition.parts, 1, [&](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; ++part) {
          of_rows(partition.begin(part), partition.end(part), results.data() + part * channels);
        }
      });
    } else {
      in_parallel(channels * partition.parts, partition.samples / partition.parts, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t part = item / channels;
          results[item] = of_channel(item % channels, partition.begin(part), partition.end(part));
        }
      });
    }
    for (int64_t item = channels; item < channels * partition.parts; ++item) {
      merge(results[item % channels], results[item]);
    }
    results.resize(channels);
    return results;
  }

  Shape shape_;
  int64_t activation_;
  A slope_;
};

template <typename T>
struct ForwardConstants {
  using A = Compute<T>;
  const A* gamma;
  const A* beta;
  double eps;
  std::vector<A> mean, factor;

  ForwardConstants(const Tensor& gamma, const Tensor& beta, double eps)
      : gamma(static_cast<const A*>(gamma.const_data_ptr())), beta(static_cast<const A*>(beta.const_data_ptr())),
        eps(eps), mean(gamma.size(0)), factor(gamma.size(0)) {}

  void set(int64_t channel, double channel_mean, double variance) {
    mean[channel] = static_cast<A>(channel_mean);
    factor[channel] = static_cast<A>(gamma[channel] / std::sqrt(variance + eps));
  }

  ForwardColumns<A> columns() const { return {mean.data(), factor.data(), beta}; }
};

template <typename T>
struct BackwardConstants {
  using A = Compute<T>;
  const A* moments;
  const A* gamma;
  const A* beta;
  double eps;
  std::vector<A> factor, slope, offset;

  BackwardConstants(const Tensor& moments, const Tensor& gamma, const Tensor& beta, double eps)
      : moments(static_cast<const A*>(moments.const_data_ptr())),
        gamma(static_cast<const A*>(gamma.const_data_ptr())), beta(static_cast<const A*>(beta.const_data_ptr())),
        eps(eps), factor(gamma.size(0)), slope(gamma.size(0)), offset(gamma.size(0)) {}

  // From the means of dy and of the normalised input times dy.
  void set(int64_t channel, double mean_dy, double mean_xdy) {
    const double rstd = 1 / std::sqrt(moments[factor.size() + channel] + eps);
    factor[channel] = static_cast<A>(gamma[channel] * rstd);
    slope[channel] = static_cast<A>(-rstd * mean_xdy);
    offset[channel] = static_cast<A>(-gamma[channel] * rstd * mean_dy);
  }

  BackwardColumns<A> columns() const { return {beta, factor.data(), slope.data(), offset.data()}; }
};

} // namespace seamseg::inplace_abn
