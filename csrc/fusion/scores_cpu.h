// Class scores of an image and the positions of its pixels among them.

#pragma once

#include <vector>

#include "../cpu_capability.h"
#include "arguments.h"
#include "kernels_cpu.h"

namespace seamseg::fusion {

// Returns the kernels for this machine.
template <typename T>
ScoreKernels<T> score_kernels() {
#ifdef __x86_64__
  if (cpu_capability() >= Capability::avx512) {
    return avx512::score_kernels<T>();
  }
  if (cpu_capability() == Capability::avx2) {
    return avx2::score_kernels<T>();
  }
#endif
  return baseline::score_kernels<T>();
}

// Owns the positions that the kernels read.
template <typename T>
class UpsampledScores {
 public:
  // `logits` must be contiguous, and stay alive.
  UpsampledScores(const Tensor& logits, double row_step, double column_step, int64_t height, int64_t width)
      : rows_(taps_of(height, row_step, logits.size(1))),
        columns_(taps_of(width, column_step, logits.size(2))),
        scores_{pointer<T>(logits), logits.size(0), logits.size(1), logits.size(2),
                rows_.data(),       columns_.data(), height,        width} {}
  UpsampledScores(const UpsampledScores&) = delete;
  UpsampledScores& operator=(const UpsampledScores&) = delete;

  const Scores<T>& get() const { return scores_; }

 private:
  static std::vector<Tap> taps_of(int64_t num, double step, int64_t num_values) {
    std::vector<Tap> taps(num);
    for (int64_t i = 0; i < num; ++i) {
      taps[i] = value_tap(i, step, num_values);
    }
    return taps;
  }

  std::vector<Tap> rows_, columns_;
  Scores<T> scores_;
};

} // namespace seamseg::fusion
