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
  BackwardScales(const Tensor& moments, const Tensor& gamma, const Tensor& beta, double eps)
      : variance_(pointer<Compute<T>>(moments) + gamma.size(0)),
        gamma_(pointer<Compute<T>>(gamma)),
        beta_(pointer<Compute<T>>(beta)),
        eps_(eps),
        factor_(gamma.size(0)),
        slope_(gamma.size(0)),
        offset_(gamma.size(0)) {}

  // Sets the constants from the means of dy and of the normalized input times dy.
  void set(int64_t channel, double mean_dy, double mean_xdy) {
    const double rstd = 1 / std::sqrt(variance_[channel] + eps_);
    factor_[channel] = static_cast<A>(gamma_[channel] * rstd);
    slope_[channel] = static_cast<A>(-rstd * mean_xdy);
    offset_[channel] = static_cast<A>(-gamma_[channel] * rstd * mean_dy);
  }

  // Sets the constants from the sums over these samples.
  void set(int64_t channel, const Sums& sums, double count) {
    set(channel, sums.dy / count, sums.dy_y / gamma_[channel] / count);
  }

  BackwardConstants<A> of(int64_t channel) const {
    return {beta_[channel], factor_[channel], slope_[channel], offset_[channel]};
  }
  BackwardConstants<const A*> all() const { return {beta_, factor_.data(), slope_.data(), offset_.data()}; }

 private:
  const A* variance_;
  const A* gamma_;
  const A* beta_;
  double eps_;
  std::vector<A> factor_;
  std::vector<A> slope_;
  std::vector<A> offset_;
};

} // namespace seamseg::inplace_abn
