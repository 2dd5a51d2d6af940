// Splits a tensor into the pieces that the kernels process, and distributes the pieces over threads.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <torch/csrc/stable/ops.h>

#include "arguments.h"
#include "kernels_cpu.h"

namespace seamseg::inplace_abn {

// Minimum number of values per thread.
constexpr int64_t grain = 32768;

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls use(begin, end) for ranges of the items 0 ... num - 1 on all threads. Each item consists of `size` numbers.
template <typename Use>
void in_parallel(int64_t num, int64_t size, const Use& use) {
  torch::stable::parallel_for(0, num, std::max<int64_t>(1, grain / std::max<int64_t>(size, 1)), use);
}

// Calls use(offset, runs) for the samples begin ... end - 1 of a channel of a planar tensor: the rest of a plane, whole
// planes, and the start of one.
template <typename Use>
void for_runs(const Shape& shape, int64_t channel, int64_t begin, int64_t end, const Use& use) {
  const int64_t stride = shape.channels * shape.inner;
  for (int64_t sample = begin; sample < end;) {
    const int64_t plane = sample / shape.inner;
    const int64_t inside = sample % shape.inner;
    const int64_t num = std::min(shape.inner - inside, end - sample);
    const int64_t count = num == shape.inner ? (end - sample) / shape.inner : 1;
    use(plane * stride + channel * shape.inner + inside, Runs{num, count, stride});
    sample += num * count;
  }
}

// The samples of a channel, or the rows of all channels, split into ranges for threads.
struct Partition {
  int64_t samples;
  int64_t parts;

  int64_t begin(int64_t part) const { return samples * part / parts; }
  int64_t end(int64_t part) const { return samples * (part + 1) / parts; }
  int64_t size() const { return samples / parts; }
};

// Distributes whole channels over the threads. Splits channels only if there are fewer channels than threads.
inline Partition planar_partition(const Shape& shape) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t wanted = ceil_divide(threads, std::max<int64_t>(shape.channels, 1));
  return {shape.num_samples(), std::clamp<int64_t>(shape.num_samples() / grain, 1, wanted)};
}

// Splits the rows into ranges.
inline Partition interleaved_partition(const Shape& shape) {
  const int64_t threads = torch::stable::get_num_threads();
  return {shape.num_samples(), std::clamp<int64_t>(shape.numel() / grain, 1, threads)};
}

} // namespace seamseg::inplace_abn
