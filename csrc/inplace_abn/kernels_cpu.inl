// The loops of the CPU operators. Included by kernels_*_cpu.cpp, each of which sets the instruction set and the name
// of the namespace first, so this file has no include of its own.
//
// Half types are widened into buffers of a tile, computed in float and narrowed again; other types are read in place.
// Sums run in the type that is computed in over a few thousand numbers at most, and from there in double.

namespace seamseg::inplace_abn::SEAMSEG_INSTRUCTION_SET {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

// Numbers per sum in the type that is computed in.
constexpr int64_t block = 4096;

// The bits of floats, for the compiler to turn the two loops below into vectors.
typedef uint32_t __attribute__((may_alias)) Bits;

inline void widen(const BFloat16* __restrict from, float* __restrict to, int64_t num) {
  Bits* bits = reinterpret_cast<Bits*>(to);
#pragma omp simd
  for (int64_t i = 0; i < num; ++i) {
    bits[i] = static_cast<uint32_t>(from[i].x) << 16;
  }
}

// Rounds to the nearest, ties to even; not-a-number stays one.
inline void narrow(const float* __restrict from, BFloat16* __restrict to, int64_t num) {
  const Bits* bits = reinterpret_cast<const Bits*>(from);
#pragma omp simd
  for (int64_t i = 0; i < num; ++i) {
    const uint32_t rounded = (bits[i] + 0x7fffu + ((bits[i] >> 16) & 1u)) >> 16;
    const bool is_number = (bits[i] & 0x7fffffffu) <= 0x7f800000u;
    to[i].x = static_cast<uint16_t>(is_number ? rounded : 0x7fc0u);
  }
}

inline void widen(const Half* from, float* to, int64_t num) {
  int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= num; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
#endif
  for (; i < num; ++i) {
    to[i] = static_cast<float>(from[i]);
  }
}

inline void narrow(const float* from, Half* to, int64_t num) {
  int64_t i = 0;
#ifdef __F16C__
  for (; i + 8 <= num; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
#endif
  for (; i < num; ++i) {
    to[i] = static_cast<Half>(from[i]);
  }
}

// A tile of an argument in the type that is computed in: widened into a buffer, or where it lies.
template <typename T>
class Tile {
  using A = Compute<T>;
  static constexpr bool is_narrow = !std::is_same_v<T, A>;
  alignas(64) A buffer_[is_narrow ? tile : 1];

 public:
  const A* read(const T* from, int64_t num) {
    if constexpr (is_narrow) {
      widen(from, buffer_, num);
      return buffer_;
    } else {
      return from;
    }
  }

  A* target(T* to) {
    if constexpr (is_narrow) {
      return buffer_;
    } else {
      return to;
    }
  }

  void write(T* to, int64_t num) {
    if constexpr (is_narrow) {
      narrow(buffer_, to, num);
    }
  }
};

// Stands for a residual that is not there, so that the loops have no second form.
template <typename A>
const A* zeros() {
  alignas(64) static const A values[tile] = {};
  return values;
}

template <typename T, typename Use>
inline void for_tiles(int64_t num, const Use& use) {
  for (int64_t begin = 0; begin < num; begin += tile) {
    use(begin, num - begin < tile ? num - begin : tile);
  }
}

template <typename T>
void block_moments(const T* x, int64_t num, Moments& moments) {
  using A = Compute<T>;
  Tile<T> tiles;
  A total = 0;
  for_tiles<T>(num, [&](int64_t begin, int64_t size) {
    const A* values = tiles.read(x + begin, size);
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < size; ++i) {
      total += values[i];
    }
  });
  // Distances from the rounded mean, whose own sum corrects what the rounding did.
  const A mean = total / static_cast<A>(num);
  A first = 0;
  A second = 0;
  for_tiles<T>(num, [&](int64_t begin, int64_t size) {
    const A* values = tiles.read(x + begin, size);
#pragma omp simd reduction(+ : first, second)
    for (int64_t i = 0; i < size; ++i) {
      const A distance = values[i] - mean;
      first += distance;
      second += distance * distance;
    }
  });
  const double count = static_cast<double>(num);
  const double shift = static_cast<double>(first) / count;
  moments.merge({count, mean + shift, std::max(0.0, static_cast<double>(second) - shift * shift * count)});
}

template <typename T>
void run_moments(const T* x, int64_t num, Moments& moments) {
  for (int64_t begin = 0; begin < num; begin += block) {
    block_moments(x + begin, std::min(block, num - begin), moments);
  }
}

template <typename T>
void rows_moments(const T* x, int64_t rows, int64_t columns, Moments* moments) {
  using A = Compute<T>;
  const int64_t step = std::clamp<int64_t>(4 * block / columns, 16, 128);
  std::vector<A> scratch(3 * columns);
  A* mean = scratch.data();
  A* first = mean + columns;
  A* second = first + columns;
  Tile<T> tiles;
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(rows, begin + step);
    std::fill(scratch.begin(), scratch.end(), A(0));
    for (int64_t row = begin; row < end; ++row) {
      for_tiles<T>(columns, [&](int64_t column, int64_t size) {
        const A* values = tiles.read(x + row * columns + column, size);
        A* total = mean + column;
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) {
          total[i] += values[i];
        }
      });
    }
    const A count = static_cast<A>(end - begin);
    for (int64_t column = 0; column < columns; ++column) {
      mean[column] /= count;
    }
    for (int64_t row = begin; row < end; ++row) {
      for_tiles<T>(columns, [&](int64_t column, int64_t size) {
        const A* values = tiles.read(x + row * columns + column, size);
        const A* centre = mean + column;
        A* once = first + column;
        A* squared = second + column;
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) {
          const A distance = values[i] - centre[i];
          once[i] += distance;
          squared[i] += distance * distance;
        }
      });
    }
    for (int64_t column = 0; column < columns; ++column) {
      const double shift = static_cast<double>(first[column]) / count;
      const double deviation = static_cast<double>(second[column]) - shift * shift * count;
      moments[column].merge({static_cast<double>(count), mean[column] + shift, std::max(0.0, deviation)});
    }
  }
}

template <typename T, Activation kind>
void run_sums(
    const T* z, const T* dz, const T* residual, int64_t num, Compute<T> beta, Compute<T> slope, Sums& sums) {
  using A = Compute<T>;
  const ActivationOf<A, kind> activation{slope, 1 / slope};
  Tile<T> z_tile, dz_tile, residual_tile;
  for (int64_t begin = 0; begin < num; begin += block) {
    A sum_dy = 0;
    A sum_dy_y = 0;
    for_tiles<T>(std::min(block, num - begin), [&](int64_t offset, int64_t size) {
      const int64_t at = begin + offset;
      const A* outputs = z_tile.read(z + at, size);
      const A* gradients = dz_tile.read(dz + at, size);
      const A* shortcut = residual ? residual_tile.read(residual + at, size) : zeros<A>();
#pragma omp simd reduction(+ : sum_dy, sum_dy_y)
      for (int64_t i = 0; i < size; ++i) {
        const A dy = gradients[i] * activation.derivative(outputs[i]);
        sum_dy += dy;
        sum_dy_y += dy * (activation.invert(outputs[i]) - shortcut[i] - beta);
      }
    });
    sums.dy += sum_dy;
    sums.dy_y += sum_dy_y;
  }
}

template <typename T, Activation kind>
void rows_sums(
    const T* z, const T* dz, const T* residual, int64_t rows, int64_t columns, const Compute<T>* beta,
    Compute<T> slope, Sums* sums) {
  using A = Compute<T>;
  const ActivationOf<A, kind> activation{slope, 1 / slope};
  const int64_t step = std::clamp<int64_t>(4 * block / columns, 16, 128);
  std::vector<A> scratch(2 * columns);
  Tile<T> z_tile, dz_tile, residual_tile;
  for (int64_t begin = 0; begin < rows; begin += step) {
    std::fill(scratch.begin(), scratch.end(), A(0));
    for (int64_t row = begin; row < std::min(rows, begin + step); ++row) {
      for_tiles<T>(columns, [&](int64_t column, int64_t size) {
        const int64_t at = row * columns + column;
        const A* outputs = z_tile.read(z + at, size);
        const A* gradients = dz_tile.read(dz + at, size);
        const A* shortcut = residual ? residual_tile.read(residual + at, size) : zeros<A>();
        const A* shift = beta + column;
        A* sum_dy = scratch.data() + column;
        A* sum_dy_y = sum_dy + columns;
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) {
          const A dy = gradients[i] * activation.derivative(outputs[i]);
          sum_dy[i] += dy;
          sum_dy_y[i] += dy * (activation.invert(outputs[i]) - shortcut[i] - shift[i]);
        }
      });
    }
    for (int64_t column = 0; column < columns; ++column) {
      sums[column].dy += scratch[column];
      sums[column].dy_y += scratch[columns + column];
    }
  }
}

template <typename T, Activation kind>
void normalise(
    T* x, const T* residual, int64_t rows, int64_t columns, ForwardColumns<Compute<T>> constants, Compute<T> slope) {
  using A = Compute<T>;
  const ActivationOf<A, kind> activation{slope, 1 / slope};
  Tile<T> x_tile, residual_tile, out_tile;
  for (int64_t row = 0; row < rows; ++row) {
    for_tiles<T>(columns, [&](int64_t column, int64_t size) {
      const int64_t at = row * columns + column;
      const A* inputs = x_tile.read(x + at, size);
      const A* shortcut = residual ? residual_tile.read(residual + at, size) : zeros<A>();
      const A* mean = constants.mean + column;
      const A* factor = constants.factor + column;
      const A* beta = constants.beta + column;
      A* outputs = out_tile.target(x + at);
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) {
        outputs[i] = activation.apply((inputs[i] - mean[i]) * factor[i] + beta[i] + shortcut[i]);
      }
      out_tile.write(x + at, size);
    });
  }
}

template <typename T, Activation kind>
void gradient(
    const T* z, const T* dz, const T* residual, T* dx, T* dr, int64_t rows, int64_t columns,
    BackwardColumns<Compute<T>> constants, Compute<T> slope) {
  using A = Compute<T>;
  const ActivationOf<A, kind> activation{slope, 1 / slope};
  Tile<T> z_tile, dz_tile, residual_tile, dx_tile, dr_tile;
  alignas(64) T unused[tile];
  for (int64_t row = 0; row < rows; ++row) {
    for_tiles<T>(columns, [&](int64_t column, int64_t size) {
      const int64_t at = row * columns + column;
      const A* outputs = z_tile.read(z + at, size);
      const A* gradients = dz_tile.read(dz + at, size);
      const A* shortcut = residual ? residual_tile.read(residual + at, size) : zeros<A>();
      const A* beta = constants.beta + column;
      const A* factor = constants.factor + column;
      const A* inclination = constants.slope + column;
      const A* offset = constants.offset + column;
      T* shortcut_gradient = dr ? dr + at : unused;
      A* to_input = dx_tile.target(dx + at);
      A* to_residual = dr_tile.target(shortcut_gradient);
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) {
        const A dy = gradients[i] * activation.derivative(outputs[i]);
        const A y = activation.invert(outputs[i]) - shortcut[i] - beta[i];
        to_residual[i] = dy;
        to_input[i] = dy * factor[i] + (y * inclination[i] + offset[i]);
      }
      dx_tile.write(dx + at, size);
      dr_tile.write(shortcut_gradient, size);
    });
  }
}

template <typename T>
constexpr Kernels<T> kernels = {
    run_moments<T>,
    {run_sums<T, Activation::identity>, run_sums<T, Activation::leaky_relu>, run_sums<T, Activation::elu>},
    rows_moments<T>,
    {rows_sums<T, Activation::identity>, rows_sums<T, Activation::leaky_relu>, rows_sums<T, Activation::elu>},
    {normalise<T, Activation::identity>, normalise<T, Activation::leaky_relu>, normalise<T, Activation::elu>},
    {gradient<T, Activation::identity>, gradient<T, Activation::leaky_relu>, gradient<T, Activation::elu>},
};

} // namespace
} // namespace seamseg::inplace_abn::SEAMSEG_INSTRUCTION_SET
