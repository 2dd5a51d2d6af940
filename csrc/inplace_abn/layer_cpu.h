// Distributes the channels or rows of one layer over the kernels and threads, for one type.

#pragma once

#include <algorithm>
#include <vector>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "constants_cpu.h"
#include "split_cpu.h"

namespace seamseg::inplace_abn {

// Calls `use` with a value of the type of the samples.
template <typename Use>
auto with_type(const Tensor& x, const Use& use) {
  switch (x.scalar_type()) {
    case ScalarType::Double: return use(double());
    case ScalarType::BFloat16: return use(torch::headeronly::BFloat16());
    case ScalarType::Half: return use(torch::headeronly::Half());
    default: return use(float());
  }
}

// Gradients of at least this size leave the caches before they are read again.
constexpr int64_t bytes_beyond_caches = 8 << 20;

template <typename T>
Gradients<T> gradients(const Tensor& dz, const Tensor& dx, const Tensor& dr) {
  const bool streams = dx.numel() * static_cast<int64_t>(sizeof(T)) >= bytes_beyond_caches;
  return {pointer<T>(dz), mutable_pointer<T>(dx), mutable_pointer<T>(dr), streams};
}

template <typename T>
class Layer {
  using A = Compute<T>;

 public:
  Layer(const Shape& shape, int64_t activation, double slope)
      : shape_(shape), kernels_(kernels<T>()[activation]), slope_(static_cast<A>(slope)) {}

  Layer(const Tensor& x, const char* op, int64_t activation, double slope)
      : Layer(shape_of(x, op), activation, slope) {}

  // ---- one channel of a planar tensor, in one thread: samples begin ... end - 1

  Moments channel_moments(const T* x, int64_t channel, int64_t begin, int64_t end) const {
    Moments moments;
    for_runs(shape_, channel, begin, end, [&](int64_t offset, Runs runs) {
      kernels_.run_moments(x + offset, runs, moments);
    });
    return moments;
  }

  void normalize_channel(
      Input<T> input, T* z, int64_t channel, int64_t begin, int64_t end, ForwardConstants<A> constants) const {
    for_runs(shape_, channel, begin, end, [&](int64_t offset, Runs runs) {
      kernels_.run_normalize(input.at(offset), z + offset, runs, constants, slope_);
    });
  }

  Sums channel_sums(Input<T> input, const T* dz, int64_t channel, int64_t begin, int64_t end, A beta) const {
    Sums sums;
    for_runs(shape_, channel, begin, end, [&](int64_t offset, Runs runs) {
      kernels_.run_sums(input.at(offset), dz + offset, runs, beta, slope_, sums);
    });
    return sums;
  }

  void channel_gradient(
      Input<T> input, Gradients<T> to, int64_t channel, int64_t begin, int64_t end,
      BackwardConstants<A> constants) const {
    for_runs(shape_, channel, begin, end, [&](int64_t offset, Runs runs) {
      kernels_.run_gradient(input.at(offset), to.at(offset), runs, constants, slope_);
    });
  }

  // ---- all channels, on all threads

  // Whether every thread gets whole channels. Then a thread runs all steps of one channel while it is in the thread's
  // cache.
  bool has_channels_for_threads() const {
    return !shape_.interleaved && shape_.channels >= static_cast<int64_t>(torch::stable::get_num_threads());
  }

  // Calls use(channel, num) for every channel of a planar tensor, where `num` is its number of samples.
  template <typename Use>
  void for_channels(const Use& use) const {
    in_parallel(shape_.channels, shape_.num_samples(), [&](int64_t begin, int64_t end) {
      for (int64_t channel = begin; channel < end; ++channel) {
        use(channel, shape_.num_samples());
      }
    });
  }

  std::vector<Moments> moments(const T* x) const {
    return reduce<Moments>(
        [&](int64_t channel, int64_t begin, int64_t end) { return channel_moments(x, channel, begin, end); },
        [&](int64_t offset, int64_t rows, Moments* own) {
          kernels_.rows_moments(x + offset, rows, shape_.channels, own);
        },
        [](Moments& total, const Moments& part) { total.merge(part); });
  }

  void normalize(Input<T> input, T* z, const ForwardScales<T>& scales) const {
    for_pieces(
        [&](int64_t channel, int64_t begin, int64_t end) {
          normalize_channel(input, z, channel, begin, end, scales.of(channel));
        },
        [&](int64_t offset, int64_t rows) {
          kernels_.rows_normalize(input.at(offset), z + offset, rows, shape_.channels, scales.all(), slope_);
        });
  }

  std::vector<Sums> sums(Input<T> input, const T* dz, const A* beta) const {
    return reduce<Sums>(
        [&](int64_t channel, int64_t begin, int64_t end) {
          return channel_sums(input, dz, channel, begin, end, beta[channel]);
        },
        [&](int64_t offset, int64_t rows, Sums* own) {
          kernels_.rows_sums(input.at(offset), dz + offset, rows, shape_.channels, beta, slope_, own);
        },
        [](Sums& total, const Sums& part) {
          total.dy += part.dy;
          total.dy_y += part.dy_y;
        });
  }

  void gradient(Input<T> input, Gradients<T> to, const BackwardScales<T>& scales) const {
    for_pieces(
        [&](int64_t channel, int64_t begin, int64_t end) {
          channel_gradient(input, to, channel, begin, end, scales.of(channel));
        },
        [&](int64_t offset, int64_t rows) {
          kernels_.rows_gradient(input.at(offset), to.at(offset), rows, shape_.channels, scales.all(), slope_);
        });
  }

 private:
  // Calls of_channel(channel, begin, end) for ranges of the samples of each channel, or of_rows(offset, rows).
  template <typename OfChannel, typename OfRows>
  void for_pieces(const OfChannel& of_channel, const OfRows& of_rows) const {
    if (shape_.interleaved) {
      in_parallel(shape_.num_samples(), shape_.channels, [&](int64_t begin, int64_t end) {
        of_rows(begin * shape_.channels, end - begin);
      });
      return;
    }
    const Partition partition = planar_partition(shape_);
    in_parallel(shape_.channels * partition.parts, partition.size(), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t part = item % partition.parts;
        of_channel(item / partition.parts, partition.begin(part), partition.end(part));
      }
    });
  }

  // Returns one result per channel, merged from parts that the threads compute independently.
  template <typename Result, typename OfChannel, typename OfRows, typename Merge>
  std::vector<Result> reduce(const OfChannel& of_channel, const OfRows& of_rows, const Merge& merge) const {
    const int64_t channels = shape_.channels;
    const Partition partition = shape_.interleaved ? interleaved_partition(shape_) : planar_partition(shape_);
    std::vector<Result> results(channels * partition.parts);
    const auto work = [&](int64_t part, int64_t channel) {
      if (shape_.interleaved) {
        const int64_t begin = partition.begin(part);
        of_rows(begin * channels, partition.end(part) - begin, results.data() + part * channels);
      } else {
        results[part * channels + channel] = of_channel(channel, partition.begin(part), partition.end(part));
      }
    };
    const int64_t per_part = shape_.interleaved ? 1 : channels;
    const int64_t cost = shape_.interleaved ? partition.size() * channels : partition.size();
    in_parallel(partition.parts * per_part, cost, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        work(item / per_part, item % per_part);
      }
    });
    for (int64_t item = channels; item < channels * partition.parts; ++item) {
      merge(results[item % channels], results[item]);
    }
    results.resize(channels);
    return results;
  }

  Shape shape_;
  const Kernels<T>& kernels_;
  A slope_;
};

} // namespace seamseg::inplace_abn
