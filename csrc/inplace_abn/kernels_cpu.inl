// The loops of the CPU operators. Included by kernels_*_cpu.cpp, each of which sets the instruction set and the name
// of the namespace first, so this file includes nothing of the system.
//
// Sums run in the type that is computed in over a few thousand numbers at most, and from there in double.

namespace seamseg::inplace_abn::SEAMSEG_INSTRUCTION_SET {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

#include "numbers_cpu.inl"

// Numbers per sum in the type that is computed in.
constexpr int64_t block = 4096;

inline int64_t rows_per_sum(int64_t channels) {
  return std::clamp<int64_t>(4 * block / std::max<int64_t>(channels, 1), 16, 128);
}

template <typename T, Activation kind>
inline ActivationOf<Compute<T>, kind> activation_of(Compute<T> slope) {
  constexpr int bits = std::is_same_v<T, BFloat16> ? 8 : std::is_same_v<T, Half> ? 11 : std::numeric_limits<T>::digits;
  return {slope, 1 / slope, elu_saturation<Compute<T>>(bits)};
}

// ---- moments --------------------------------------------------------------------------------------------------------

// Distances from a number near the mean lose nothing, however large the mean is; their own mean corrects it.
inline Moments moments_about(double shift, double count, double first, double second) {
  const double distance = first / count;
  return {count, shift + distance, std::max(0.0, second - distance * distance * count)};
}

template <typename T>
Compute<T> mean_of_tile(const T* x, int64_t num) {
  using A = Compute<T>;
  Source<T> source;
  const auto values = source.of(x, num);
  A total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < num; ++i) {
    total += values[i];
  }
  return total / static_cast<A>(num);
}

// Calls use(offset, size, count) for pieces of the runs that are short enough for one sum: of `count` runs, numbers
// offset ... offset + size - 1. Short runs fill the vectors less well, so fewer of their numbers go into a sum.
template <typename Use>
inline void for_sums(Runs runs, const Use& use) {
  const int64_t per_sum = std::max<int64_t>(1, block / 8 / std::max<int64_t>(runs.num, 1));
  for (int64_t first = 0; first < runs.count; first += per_sum) {
    for (int64_t begin = 0; begin < runs.num; begin += block) {
      use(first * runs.stride + begin, std::min(block, runs.num - begin), std::min(per_sum, runs.count - first));
    }
  }
}

template <typename T>
void run_moments(const T* x, Runs runs, Moments& moments) {
  using A = Compute<T>;
  Source<T> source;
  for_sums(runs, [&](int64_t begin, int64_t size, int64_t count) {
    const A shift = mean_of_tile(x + begin, std::min(tile, size));
    A first = 0;
    A second = 0;
    for (int64_t run = 0; run < count; ++run) {
      for_tiles(size, [&](int64_t offset, int64_t part) {
        const auto values = source.of(x + begin + run * runs.stride + offset, part);
#pragma omp simd reduction(+ : first, second)
        for (int64_t i = 0; i < part; ++i) {
          const A distance = values[i] - shift;
          first += distance;
          second += distance * distance;
        }
      });
    }
    moments.merge(moments_about(shift, static_cast<double>(size * count), first, second));
  });
}

// Of the first rows of a block, as the number near the mean.
template <typename T>
void column_means(const T* x, int64_t rows, int64_t channels, Compute<T>* mean) {
  using A = Compute<T>;
  Source<T> source;
  std::fill_n(mean, channels, A(0));
  for (int64_t row = 0; row < rows; ++row) {
    for_tiles(channels, [&](int64_t column, int64_t num) {
      const auto values = source.of(x + row * channels + column, num);
      A* total = mean + column;
#pragma omp simd
      for (int64_t i = 0; i < num; ++i) {
        total[i] += values[i];
      }
    });
  }
  for (int64_t column = 0; column < channels; ++column) {
    mean[column] /= static_cast<A>(rows);
  }
}

template <typename T>
void rows_moments(const T* x, int64_t rows, int64_t channels, Moments* moments) {
  using A = Compute<T>;
  Source<T> source;
  std::vector<A> scratch(3 * channels);
  A* shift = scratch.data();
  A* first = shift + channels;
  A* second = first + channels;
  for (int64_t begin = 0; begin < rows; begin += rows_per_sum(channels)) {
    const int64_t end = std::min(rows, begin + rows_per_sum(channels));
    column_means(x + begin * channels, std::min<int64_t>(4, end - begin), channels, shift);
    std::fill_n(first, 2 * channels, A(0));
    for (int64_t row = begin; row < end; ++row) {
      for_tiles(channels, [&](int64_t column, int64_t num) {
        const auto values = source.of(x + row * channels + column, num);
        const A* centre = shift + column;
        A* once = first + column;
        A* squared = second + column;
#pragma omp simd
        for (int64_t i = 0; i < num; ++i) {
          const A distance = values[i] - centre[i];
          once[i] += distance;
          squared[i] += distance * distance;
        }
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
inline void normalise(
    T* x, const T* residual, Runs rows, ForwardConstants<Constant> constants, Compute<T> slope) {
  const auto activation = activation_of<T, kind>(slope);
  Source<T> source;
  Residual<T, has_residual> shortcut_source;
  Target<T> target;
  for (int64_t row = 0; row < rows.count; ++row) {
    for_tiles(rows.num, [&](int64_t column, int64_t num) {
      const int64_t at = row * rows.stride + column;
      const auto values = source.of(x + at, num);
      const auto shortcut = shortcut_source.of(residual, at, num);
      const auto mean = constant_at(constants.mean, column);
      const auto factor = constant_at(constants.factor, column);
      const auto beta = constant_at(constants.beta, column);
      const auto result = target.of(x + at);
#pragma omp simd
      for (int64_t i = 0; i < num; ++i) {
        result[i] = activation.apply((values[i] - mean[i]) * factor[i] + beta[i] + shortcut[i]);
      }
      target.done(x + at, num);
    });
  }
}

template <typename T, Activation kind>
void run_normalise(T* x, const T* residual, Runs runs, ForwardConstants<Compute<T>> constants, Compute<T> slope) {
  if (residual == nullptr) {
    normalise<T, kind, false>(x, residual, runs, constants, slope);
  } else {
    normalise<T, kind, true>(x, residual, runs, constants, slope);
  }
}

template <typename T, Activation kind>
void rows_normalise(
    T* x, const T* residual, int64_t rows, int64_t channels, ForwardConstants<const Compute<T>*> constants,
    Compute<T> slope) {
  if (residual == nullptr) {
    normalise<T, kind, false>(x, residual, {channels, rows, channels}, constants, slope);
  } else {
    normalise<T, kind, true>(x, residual, {channels, rows, channels}, constants, slope);
  }
}

// ---- sums of the backward pass --------------------------------------------------------------------------------------

template <typename T, Activation kind, bool has_residual>
inline void sums_of_run(Input<T> input, const T* dz, Runs runs, Compute<T> beta, Compute<T> slope, Sums& sums) {
  using A = Compute<T>;
  const auto activation = activation_of<T, kind>(slope);
  Source<T> z_source, dz_source;
  Residual<T, has_residual> shortcut_source;
  for_sums(runs, [&](int64_t begin, int64_t size, int64_t count) {
    A sum_dy = 0;
    A sum_dy_y = 0;
    for (int64_t run = 0; run < count; ++run) {
      for_tiles(size, [&](int64_t offset, int64_t part) {
        const int64_t at = begin + run * runs.stride + offset;
        const auto z = z_source.of(input.x + at, part);
        const auto upstream = dz_source.of(dz + at, part);
        const auto shortcut = shortcut_source.of(input.residual, at, part);
#pragma omp simd reduction(+ : sum_dy, sum_dy_y)
        for (int64_t i = 0; i < part; ++i) {
          const A dy = upstream[i] * activation.derivative(z[i]);
          sum_dy += dy;
          sum_dy_y += dy * (activation.invert(z[i]) - shortcut[i] - beta);
        }
      });
    }
    sums.dy += sum_dy;
    sums.dy_y += sum_dy_y;
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
  Source<T> z_source, dz_source;
  Residual<T, has_residual> shortcut_source;
  for (int64_t begin = 0; begin < rows; begin += rows_per_sum(channels)) {
    std::fill(scratch.begin(), scratch.end(), A(0));
    for (int64_t row = begin; row < std::min(rows, begin + rows_per_sum(channels)); ++row) {
      for_tiles(channels, [&](int64_t column, int64_t num) {
        const int64_t at = row * channels + column;
        const auto z = z_source.of(input.x + at, num);
        const auto upstream = dz_source.of(dz + at, num);
        const auto shortcut = shortcut_source.of(input.residual, at, num);
        const A* shift = beta + column;
        A* sum_dy = scratch.data() + column;
        A* sum_dy_y = sum_dy + channels;
#pragma omp simd
        for (int64_t i = 0; i < num; ++i) {
          const A dy = upstream[i] * activation.derivative(z[i]);
          sum_dy[i] += dy;
          sum_dy_y[i] += dy * (activation.invert(z[i]) - shortcut[i] - shift[i]);
        }
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

template <typename T, Activation kind, bool has_residual, typename Constant>
inline void gradient(
    Input<T> input, Gradients<T> to, Runs rows, BackwardConstants<Constant> constants, Compute<T> slope) {
  using A = Compute<T>;
  const auto activation = activation_of<T, kind>(slope);
  Source<T> z_source, dz_source;
  Residual<T, has_residual> shortcut_source;
  Target<T> dx_target, dr_target;
  for (int64_t row = 0; row < rows.count; ++row) {
    for_tiles(rows.num, [&](int64_t column, int64_t num) {
      const int64_t at = row * rows.stride + column;
      const auto z = z_source.of(input.x + at, num);
      const auto upstream = dz_source.of(to.dz + at, num);
      const auto shortcut = shortcut_source.of(input.residual, at, num);
      const auto beta = constant_at(constants.beta, column);
      const auto factor = constant_at(constants.factor, column);
      const auto inclination = constant_at(constants.slope, column);
      const auto offset = constant_at(constants.offset, column);
      const auto dx = dx_target.of(to.dx + at);
      const auto dr = dr_target.of(has_residual ? to.dr + at : nullptr);
#pragma omp simd
      for (int64_t i = 0; i < num; ++i) {
        const A dy = upstream[i] * activation.derivative(z[i]);
        const A y = activation.invert(z[i]) - shortcut[i] - beta[i];
        if constexpr (has_residual) {
          dr[i] = dy;
        }
        dx[i] = dy * factor[i] + (y * inclination[i] + offset[i]);
      }
      dx_target.done(to.dx + at, num);
      if constexpr (has_residual) {
        dr_target.done(to.dr + at, num);
      }
    });
  }
}

template <typename T, Activation kind>
void run_gradient(
    Input<T> input, Gradients<T> to, Runs runs, BackwardConstants<Compute<T>> constants, Compute<T> slope) {
  if (input.residual == nullptr) {
    gradient<T, kind, false>(input, to, runs, constants, slope);
  } else {
    gradient<T, kind, true>(input, to, runs, constants, slope);
  }
}

template <typename T, Activation kind>
void rows_gradient(
    Input<T> input, Gradients<T> to, int64_t rows, int64_t channels, BackwardConstants<const Compute<T>*> constants,
    Compute<T> slope) {
  if (input.residual == nullptr) {
    gradient<T, kind, false>(input, to, {channels, rows, channels}, constants, slope);
  } else {
    gradient<T, kind, true>(input, to, {channels, rows, channels}, constants, slope);
  }
}

template <typename T, Activation kind>
constexpr Kernels<T> kernels_of = {
    run_moments<T>,  run_normalise<T, kind>,  run_sums<T, kind>,  run_gradient<T, kind>,
    rows_moments<T>, rows_normalise<T, kind>, rows_sums<T, kind>, rows_gradient<T, kind>,
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

template const Kernels<float>* all_kernels();
template const Kernels<double>* all_kernels();
template const Kernels<BFloat16>* all_kernels();
template const Kernels<Half>* all_kernels();

} // namespace seamseg::inplace_abn::SEAMSEG_INSTRUCTION_SET
