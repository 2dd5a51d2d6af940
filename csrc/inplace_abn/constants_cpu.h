// Factors and offsets that the kernels apply, computed from the statistics, gamma and beta. There is one per channel.

#pragma once

#include <cmath>
#include <vector>

#include "arguments.h"
#include "kernels_cpu.h"

namespace seamseg::inplace_abn {

template <typename T>
class ForwardScales {
  using A = Compute<T>;

 public:
  ForwardScales(const Tensor& gamma, const Tensor& beta, double eps)
      : gamma_(pointer<Compute<T>>(gamma)),
        beta_(pointer<Compute<T>>(beta)),
        eps_(eps),
        mean_(gamma.size(0)),
        factor_(gamma.size(0)) {}

  void set(int64_t channel, double mean, double variance) {
    mean_[channel] = static_cast<A>(mean);
    factor_[channel] = static_cast<A>(gamma_[channel] / std::sqrt(variance + eps_));
  }

  ForwardConstants<A> of(int64_t channel) const { return {mean_[channel], factor_[channel], beta_[channel]}; }
  ForwardConstants<const A*> all() const { return {mean_.data(), factor_.data(), beta_}; }

 private:
  const A* gamma_;
  const A* beta_;
  double eps_;
  std::vector<A> mean_;
  std::vector<A> factor_;
};

template <typename T>
class BackwardScales {
  using A = Compute<T>;

 public:
  BackwardScales(const A* beta, int64_t channels)
      : beta_(beta), factor_(channels), slope_(channels), offset_(channels) {}

  void set_constants(int64_t channel, double factor, double slope, double offset) {
    factor_[channel] = static_cast<A>(factor);
    slope_[channel] = static_cast<A>(slope);
    offset_[channel] = static_cast<A>(offset);
  }

  BackwardConstants<A> of(int64_t channel) const {
    return {beta_[channel], factor_[channel], slope_[channel], offset_[channel]};
  }
  BackwardConstants<const A*> all() const { return {beta_, factor_.data(), slope_.data(), offset_.data()}; }

 private:
  const A* beta_;
  std::vector<A> factor_;
  std::vector<A> slope_;
  std::vector<A> offset_;
};

// Scales of a BatchNorm with these moments.
template <typename T>
class BatchBackwardScales : public BackwardScales<T> {
  using A = Compute<T>;

 public:
  BatchBackwardScales(const Tensor& moments, const Tensor& gamma, const Tensor& beta, double eps)
      : BackwardScales<T>(pointer<A>(beta), gamma.size(0)),
        variance_(pointer<A>(moments) + gamma.size(0)),
        gamma_(pointer<A>(gamma)),
        eps_(eps) {}

  // Sets the constants from the means of dy and of the normalized input times dy.
  void set(int64_t channel, double mean_dy, double mean_xdy) {
    const double rstd = 1 / std::sqrt(variance_[channel] + eps_);
    this->set_constants(channel, gamma_[channel] * rstd, -rstd * mean_xdy, -gamma_[channel] * rstd * mean_dy);
  }

  // Sets the constants from the sums over these samples.
  void set(int64_t channel, const Sums& sums, double count) {
    set(channel, sums.dy / count, sums.dy_y / gamma_[channel] / count);
  }

 private:
  const A* variance_;
  const A* gamma_;
  double eps_;
};

} // namespace seamseg::inplace_abn
