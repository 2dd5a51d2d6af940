// Kernels of the CPU operators. Each kernels_*_cpu.cpp includes this file after it has set the instruction set and the
// namespace. Therefore this file must not include system headers.
//
// Sums of up to a few thousand numbers use the compute type. These partial sums are added in double.

namespace seamseg::inplace_abn::SEAMSEG_INSTRUCTION_SET {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

#include "../packs_cpu.inl"

// ---- constants, residuals and activations of packs ------------------------------------------------------------------

// Whether the packs of all rows start at addresses that allow streaming writes.
template <typename T>
inline bool is_aligned(const T* first, Runs rows) {
  constexpr int64_t size = sizeof(typename Format<T>::Raw);
  return reinterpret_cast<uintptr_t>(first) % size == 0 && (rows.count == 1 || rows.stride * sizeof(T) % size == 0);
}

// A constant of a run, which is the same for all its numbers, or one of the columns of a row.
template <typename A, typename Extent>
inline Pack<A> constant_at(A value, int64_t, Extent) {
  return Pack<A>{} + value;
}

template <typename A, typename Extent>
inline Pack<A> constant_at(const A* values, int64_t column, Extent extent) {
  return read(values + column, extent);
}

// Reads the residual, or returns zeros if there is none.
template <bool present, typename T, typename Extent>
inline Pack<Compute<T>> residual_at(const T* residual, int64_t at, Extent extent) {
  if constexpr (present) {
    return read(residual + at, extent);
  } else {
    return Pack<Compute<T>>{};
  }
}

template <typename A, typename Function>
inline Pack<A> of_each(Pack<A> pack, const Function& function) {
  for (int64_t i = 0; i < width<A>; ++i) {
    pack[i] = function(pack[i]);
  }
  return pack;
}

// Applies an activation to packs. The functions of the ELU only accept single numbers.
template <typename A, Activation kind>
struct PackActivation {
  ActivationOf<A, kind> of_number;

  Pack<A> apply(Pack<A> y) const {
    if constexpr (kind == Activation::elu) {
      return of_each<A>(y, [this](A number) { return of_number.apply(number); });
    } else {
      return of_number.apply(y);
    }
  }

  Pack<A> invert(Pack<A> z) const {
    if constexpr (kind == Activation::elu) {
      return of_each<A>(z, [this](A number) { return of_number.invert(number); });
    } else {
      return of_number.invert(z);
    }
  }

  Pack<A> derive(Pack<A> dz, Pack<A> z) const { return of_number.derive(dz, z); }
};

// Maximum number of values in a sum of the compute type.
constexpr int64_t block = 4096;

// Number of values that are averaged to estimate the mean. The estimate is near the overall mean, or at least much
// nearer than zero may be.
constexpr int64_t numbers_near_mean = 256;

inline int64_t rows_per_sum(int64_t channels) {
  return std::clamp<int64_t>(4 * block / std::max<int64_t>(channels, 1), 16, 128);
}

template <typename T, Activation kind>
inline PackActivation<Compute<T>, kind> activation_of(Compute<T> slope) {
  constexpr int bits = std::is_same_v<T, BFloat16> ? 8 : std::is_same_v<T, Half> ? 11 : std::numeric_limits<T>::digits;
  return {{slope, 1 / slope, elu_saturation<Compute<T>>(bits)}};
}

// ---- moments --------------------------------------------------------------------------------------------------------

// Differences from a number near the mean do not lose precision, however large the mean is. The mean of the differences
// corrects the result.
inline Moments moments_about(double shift, double count, double first, double second) {
  const double distance = first / count;
  return {count, shift + distance, std::max(0.0, second - distance * distance * count)};
}

// Returns the mean of a few numbers.
template <typename T>
Compute<T> mean_of(const T* x, int64_t num) {
  using A = Compute<T>;
  Pack<A> total[2] = {};
  for_packs<A>(num, [&](int64_t i, auto extent, auto turn) { total[turn] += read(x + i, extent); });
  return sum_of<A>(total) / static_cast<A>(num);
}

// Calls use(offset, size, count) for pieces of the runs that are short enough for one sum. A piece consists of numbers
// offset ... offset + size - 1 of `count` runs. Short runs fill the vectors less well, so fewer of their numbers go
// into one sum.
template <typename Use>
inline void for_sums(Runs runs, const Use& use) {
  const int64_t per_sum = std::clamp<int64_t>(block / 8 / std::max<int64_t>(runs.num, 1), 1, 16);
  for (int64_t first = 0; first < runs.count; first += per_sum) {
    for (int64_t begin = 0; begin < runs.num; begin += block) {
      use(first * runs.stride + begin, std::min(block, runs.num - begin), std::min(per_sum, runs.count - first));
    }
  }
}

template <typename T>
void run_moments(const T* x, Runs runs, Moments& moments) {
  using A = Compute<T>;
  for_sums(runs, [&](int64_t begin, int64_t size, int64_t count) {
    const A shift = mean_of(x + begin, std::min(numbers_near_mean, size));
    Pack<A> first[2] = {}, second[2] = {};
    for (int64_t run = 0; run < count; ++run) {
      const T* values = x + begin + run * runs.stride;
      for_packs<A>(size, [&](int64_t i, auto extent, auto turn) {
        const Pack<A> distance = extent.only(read(values + i, extent) - shift);
        first[turn] += distance;
        second[turn] += distance * distance;
      });
    }
    moments.merge(moments_about(shift, static_cast<double>(size * count), sum_of<A>(first), sum_of<A>(second)));
  });
}

// Computes the mean of each column over the first rows of a block, to be used as the number near the mean.
template <typename T>
void column_means(const T* x, int64_t rows, int64_t channels, Compute<T>* mean) {
  using A = Compute<T>;
  for_packs<A>(channels, [&](int64_t column, auto extent, auto) {
    Pack<A> total = {};
    for (int64_t row = 0; row < rows; ++row) {
      total += read(x + row * channels + column, extent);
    }
    write(total / static_cast<A>(rows), mean + column, extent);
  });
}

template <typename T>
void rows_moments(const T* x, int64_t rows, int64_t channels, Moments* moments) {
  using A = Compute<T>;
  std::vector<A> scratch(3 * channels);
  A* shift = scratch.data();
  A* first = shift + channels;
  A* second = first + channels;
  for (int64_t begin = 0; begin < rows; begin += rows_per_sum(channels)) {
    const int64_t end = std::min(rows, begin + rows_per_sum(channels));
    column_means(x + begin * channels, std::min<int64_t>(4, end - begin), channels, shift);
    std::fill_n(first, 2 * channels, A(0));
    for (int64_t row = begin; row < end; ++row) {
      for_packs<A>(channels, [&](int64_t column, auto extent, auto) {
        const Pack<A> distance = read(x + row * channels + column, extent) - read(shift + column, extent);
        write(read(first + column, extent) + distance, first + column, extent);
        write(read(second + column, extent) + distance * distance, second + column, extent);
      });
    }
    const auto count = static_cast<double>(end - begin);
    for (int64_t column = 0; column < channels; ++column) {
      moments[column].merge(moments_about(shift[column], count, first[column], second[column]));
    }
  }
}

// ---- forward --------------------------------------------------------------------------------------------------------

template <typename T, Activation kind, bool has_residual, typename Constant>
inline void normalize(Input<T> input, T* z, Runs rows, ForwardConstants<Constant> constants, Compute<T> slope) {
  using A = Compute<T>;
  const auto activation = activation_of<T, kind>(slope);
  for (int64_t row = 0; row < rows.count; ++row) {
    for_packs<A>(rows.num, [&](int64_t column, auto extent, auto) {
      const int64_t at = row * rows.stride + column;
      const Pack<A> y = (read(input.x + at, extent) - constant_at<A>(constants.mean, column, extent)) *
              constant_at<A>(constants.factor, column, extent) +
          constant_at<A>(constants.beta, column, extent) + residual_at<has_residual>(input.residual, at, extent);
      write(activation.apply(y), z + at, extent);
    });
  }
}

template <typename T, Activation kind>
void run_normalize(Input<T> input, T* z, Runs runs, ForwardConstants<Compute<T>> constants, Compute<T> slope) {
  if (input.residual == nullptr) {
    normalize<T, kind, false>(input, z, runs, constants, slope);
  } else {
    normalize<T, kind, true>(input, z, runs, constants, slope);
  }
}

template <typename T, Activation kind>
void rows_normalize(
    Input<T> input, T* z, int64_t rows, int64_t channels, ForwardConstants<const Compute<T>*> constants,
    Compute<T> slope) {
  if (input.residual == nullptr) {
    normalize<T, kind, false>(input, z, {channels, rows, channels}, constants, slope);
  } else {
    normalize<T, kind, true>(input, z, {channels, rows, channels}, constants, slope);
  }
}

// ---- sums of the backward pass --------------------------------------------------------------------------------------

// dy and y - beta, recovered from the output and its gradient.
template <typename A>
struct Recovered {
  Pack<A> dy;
  Pack<A> y;
};

template <typename T, Activation kind, bool has_residual, typename Extent>
inline Recovered<Compute<T>> recover(
    Input<T> input, const T* dz, int64_t at, Pack<Compute<T>> beta, PackActivation<Compute<T>, kind> activation,
    Extent extent) {
  const auto z = read(input.x + at, extent);
  return {
      activation.derive(read(dz + at, extent), z),
      activation.invert(z) - residual_at<has_residual>(input.residual, at, extent) - beta,
  };
}

template <typename T, Activation kind, bool has_residual>
inline void sums_of_run(Input<T> input, const T* dz, Runs runs, Compute<T> beta, Compute<T> slope, Sums& sums) {
  using A = Compute<T>;
  const auto activation = activation_of<T, kind>(slope);
  for_sums(runs, [&](int64_t begin, int64_t size, int64_t count) {
    Pack<A> sum_dy[2] = {}, sum_dy_y[2] = {};
    for (int64_t run = 0; run < count; ++run) {
      for_packs<A>(size, [&](int64_t i, auto extent, auto turn) {
        const int64_t at = begin + run * runs.stride + i;
        const auto of = recover<T, kind, has_residual>(input, dz, at, Pack<A>{} + beta, activation, extent);
        sum_dy[turn] += of.dy;
        sum_dy_y[turn] += extent.only(of.dy * of.y);
      });
    }
    sums.dy += sum_of<A>(sum_dy);
    sums.dy_y += sum_of<A>(sum_dy_y);
  });
}

template <typename T, Activation kind>
void run_sums(Input<T> input, const T* dz, Runs runs, Compute<T> beta, Compute<T> slope, Sums& sums) {
  if (input.residual == nullptr) {
    sums_of_run<T, kind, false>(input, dz, runs, beta, slope, sums);
  } else {
    sums_of_run<T, kind, true>(input, dz, runs, beta, slope, sums);
  }
}

template <typename T, Activation kind, bool has_residual>
inline void sums_of_rows(
    Input<T> input, const T* dz, int64_t rows, int64_t channels, const Compute<T>* beta, Compute<T> slope, Sums* sums) {
  using A = Compute<T>;
  const auto activation = activation_of<T, kind>(slope);
  std::vector<A> scratch(2 * channels);
  for (int64_t begin = 0; begin < rows; begin += rows_per_sum(channels)) {
    std::fill(scratch.begin(), scratch.end(), A(0));
    for (int64_t row = begin; row < std::min(rows, begin + rows_per_sum(channels)); ++row) {
      for_packs<A>(channels, [&](int64_t column, auto extent, auto) {
        const auto of = recover<T, kind, has_residual>(
            input, dz, row * channels + column, read(beta + column, extent), activation, extent);
        A* sum_dy = scratch.data() + column;
        A* sum_dy_y = sum_dy + channels;
        write(read(sum_dy, extent) + of.dy, sum_dy, extent);
        write(read(sum_dy_y, extent) + of.dy * of.y, sum_dy_y, extent);
      });
    }
    for (int64_t column = 0; column < channels; ++column) {
      sums[column].dy += scratch[column];
      sums[column].dy_y += scratch[channels + column];
    }
  }
}

template <typename T, Activation kind>
void rows_sums(
    Input<T> input, const T* dz, int64_t rows, int64_t channels, const Compute<T>* beta, Compute<T> slope, Sums* sums) {
  if (input.residual == nullptr) {
    sums_of_rows<T, kind, false>(input, dz, rows, channels, beta, slope, sums);
  } else {
    sums_of_rows<T, kind, true>(input, dz, rows, channels, beta, slope, sums);
  }
}

// ---- gradients ------------------------------------------------------------------------------------------------------

template <typename T, Activation kind, bool has_residual, bool streams, typename Constant>
inline void gradient(
    Input<T> input, Gradients<T> to, Runs rows, BackwardConstants<Constant> constants, Compute<T> slope) {
  using A = Compute<T>;
  const auto activation = activation_of<T, kind>(slope);
  for (int64_t row = 0; row < rows.count; ++row) {
    for_packs<A>(rows.num, [&](int64_t column, auto extent, auto) {
      const int64_t at = row * rows.stride + column;
      const auto of = recover<T, kind, has_residual>(
          input, to.dz, at, constant_at<A>(constants.beta, column, extent), activation, extent);
      const Pack<A> through_mean =
          of.y * constant_at<A>(constants.slope, column, extent) + constant_at<A>(constants.offset, column, extent);
      const auto out = written<streams>(extent);
      write(of.dy * constant_at<A>(constants.factor, column, extent) + through_mean, to.dx + at, out);
      if constexpr (has_residual) {
        write(of.dy, to.dr + at, out);
      }
    });
  }
  if constexpr (streams) {
    finish_stream();
  }
}

template <typename T, Activation kind, bool has_residual, typename Constant>
inline void gradient_of_rows(
    Input<T> input, Gradients<T> to, Runs rows, BackwardConstants<Constant> constants, Compute<T> slope) {
  if (to.streams && is_aligned(to.dx, rows) && (!has_residual || is_aligned(to.dr, rows))) {
    gradient<T, kind, has_residual, true>(input, to, rows, constants, slope);
  } else {
    gradient<T, kind, has_residual, false>(input, to, rows, constants, slope);
  }
}

template <typename T, Activation kind>
void run_gradient(
    Input<T> input, Gradients<T> to, Runs runs, BackwardConstants<Compute<T>> constants, Compute<T> slope) {
  if (input.residual == nullptr) {
    gradient_of_rows<T, kind, false>(input, to, runs, constants, slope);
  } else {
    gradient_of_rows<T, kind, true>(input, to, runs, constants, slope);
  }
}

template <typename T, Activation kind>
void rows_gradient(
    Input<T> input, Gradients<T> to, int64_t rows, int64_t channels, BackwardConstants<const Compute<T>*> constants,
    Compute<T> slope) {
  if (input.residual == nullptr) {
    gradient_of_rows<T, kind, false>(input, to, {channels, rows, channels}, constants, slope);
  } else {
    gradient_of_rows<T, kind, true>(input, to, {channels, rows, channels}, constants, slope);
  }
}

// ---- filters --------------------------------------------------------------------------------------------------------

template <typename T>
void filter_standardize(const Compute<T>* weights, T* filter, int64_t num, Compute<T> mean, Compute<T> factor) {
  for_packs<Compute<T>>(num, [&](int64_t i, auto extent, auto) {
    write((read(weights + i, extent) - mean) * factor, filter + i, extent);
  });
}

// With w for the standardized weights and g for their gradients: factor * (g - mean(g) - w * mean(g * w)).
template <typename T>
void filter_gradient(
    const Compute<T>* weights, const T* dfilter, Compute<T>* dweights, int64_t num, Compute<T> mean,
    Compute<T> factor) {
  using A = Compute<T>;
  double first = 0, second = 0;
  for (int64_t begin = 0; begin < num; begin += block) {
    Pack<A> sums[2] = {}, products[2] = {};
    for_packs<A>(std::min(block, num - begin), [&](int64_t i, auto extent, auto turn) {
      const Pack<A> gradient = read(dfilter + begin + i, extent); // 0 beyond a part
      sums[turn] += gradient;
      products[turn] += gradient * (read(weights + begin + i, extent) - mean);
    });
    first += sum_of<A>(sums);
    second += sum_of<A>(products);
  }
  const auto share = static_cast<A>(first / static_cast<double>(num));
  const auto slope = static_cast<A>(second / static_cast<double>(num) * factor * factor);
  for_packs<A>(num, [&](int64_t i, auto extent, auto) {
    const Pack<A> distance = read(weights + i, extent) - mean;
    write(factor * (read(dfilter + i, extent) - share - distance * slope), dweights + i, extent);
  });
}

template <typename T, Activation kind>
constexpr Kernels<T> kernels_of = {
    run_moments<T>,        run_normalize<T, kind>,  run_sums<T, kind>,  run_gradient<T, kind>,
    rows_moments<T>,       rows_normalize<T, kind>, rows_sums<T, kind>, rows_gradient<T, kind>,
    filter_standardize<T>, filter_gradient<T>,
};

template <typename T>
constexpr Kernels<T> table[num_activations] = {
    kernels_of<T, Activation::identity>,
    kernels_of<T, Activation::leaky_relu>,
    kernels_of<T, Activation::elu>,
};

} // namespace

template <typename T>
const Kernels<T>* all_kernels() {
  return table<T>;
}

template const Kernels<BFloat16>* all_kernels();
#ifndef SEAMSEG_BFLOAT16_VECTORS // its conversions do not affect the other types
template const Kernels<float>* all_kernels();
template const Kernels<double>* all_kernels();
template const Kernels<Half>* all_kernels();
#endif

} // namespace seamseg::inplace_abn::SEAMSEG_INSTRUCTION_SET

#pragma GCC diagnostic pop
