// Kernels of the CPU operators. Each kernels_*_cpu.cpp includes this file after it has set the instruction set, the
// vector size and the namespace. Therefore this file must not include system headers.

namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

// ---- masks ----------------------------------------------------------------------------------------------------------

void place(MaskRow row, int32_t id, int32_t* owners, Areas& areas) {
  int32_t all = 0;
  int32_t free = 0;
#pragma omp simd reduction(+ : all, free)
  for (int64_t x = 0; x < row.num; ++x) {
    const int32_t inside = between(row.upper[x], row.lower[x], row.fraction) > 0.5f ? 1 : 0;
    const int32_t won = owners[x] == 0 ? inside : 0;
    owners[x] = won != 0 ? id : owners[x];
    all += inside;
    free += won;
  }
  areas.all += all;
  areas.free += free;
}

void paste(MaskRow row, bool* pixels) {
#pragma omp simd
  for (int64_t x = 0; x < row.num; ++x) {
    pixels[x] = between(row.upper[x], row.lower[x], row.fraction) > 0.5f;
  }
}

// ---- classes --------------------------------------------------------------------------------------------------------
//
// Each output row lies between two source rows. These are upsampled to the output width once, in tiles that stay in the
// cache. The layout puts the scores of all classes for a vector of pixels next to each other. All output rows between
// the same two source rows then keep their best score and its class in registers.

typedef float Floats __attribute__((vector_size(SEAMSEG_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(SEAMSEG_VECTOR_BYTES)));

constexpr int64_t lanes = SEAMSEG_VECTOR_BYTES / sizeof(float);
constexpr int64_t rows_at_once = 4;
constexpr int64_t tile_numbers = 1 << 17; // in two upsampled rows: 512 KiB

template <typename Vector, typename N>
inline Vector load(const N* from) {
  Vector values;
  __builtin_memcpy(&values, from, sizeof(values));
  return values;
}

template <typename Vector, typename N>
inline void store(Vector values, N* to) {
  __builtin_memcpy(to, &values, sizeof(values));
}

inline float to_float(float value) { return value; }
inline float to_float(Half value) { return static_cast<float>(value); }
inline float to_float(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.x) << 16;
  float result;
  __builtin_memcpy(&result, &bits, sizeof(result));
  return result;
}

inline Floats gather(const float* from, Ints positions) {
  Floats values;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    values[lane] = from[positions[lane]];
  }
  return values;
}

// Requires that all positions are within one vector.
inline Floats gather_near(const float* from, Ints positions) {
#if SEAMSEG_VECTOR_BYTES == 64
  // Uses a mask of all lanes, because the variant without a mask triggers a warning in GCC 12's own header.
  return (Floats)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)positions, (__m512)load<Floats>(from));
#elif SEAMSEG_VECTOR_BYTES == 32
  return (Floats)_mm256_permutevar8x32_ps((__m256)load<Floats>(from), (__m256i)positions);
#else
  return gather(from, positions);
#endif
}

// A vector of output columns. Positions are relative to `first`.
struct Strip {
  int64_t first;
  int32_t before[lanes], after[lanes];
  float fraction[lanes];
  bool is_near;
};

// Returns the strip of up to one vector of columns. The lanes after the last column repeat it.
inline Strip strip_of(const Tap* columns, int64_t num) {
  Strip strip{columns[0].before, {}, {}, {}, true};
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const Tap& tap = columns[lane < num ? lane : num - 1];
    strip.before[lane] = tap.before - static_cast<int32_t>(strip.first);
    strip.after[lane] = tap.after - static_cast<int32_t>(strip.first);
    strip.fraction[lane] = tap.fraction;
    strip.is_near = strip.is_near && strip.after[lane] < lanes;
  }
  return strip;
}

// Two scores up to this magnitude have a finite difference, so one product is enough to interpolate between them. All
// others, mainly infinity and NaN, are interpolated as in blend().
constexpr float largest_tame = std::numeric_limits<float>::max() / 4;

template <bool tame>
inline Floats between_scores(Floats before, Floats after, Floats fraction) {
  return tame ? before + fraction * (after - before) : (1 - fraction) * before + fraction * after;
}

template <bool tame>
inline Floats widened(const float* from, const Strip& strip) {
  const auto before_at = load<Ints>(strip.before);
  const auto after_at = load<Ints>(strip.after);
  const Floats before = strip.is_near ? gather_near(from, before_at) : gather(from, before_at);
  const Floats after = strip.is_near ? gather_near(from, after_at) : gather(from, after_at);
  return between_scores<tame>(before, after, load<Floats>(strip.fraction));
}

// Uninitialized memory. This is not a std::vector, because its code would be compiled here for this instruction set and
// the linker could use that copy in the whole library.
template <typename N>
class Memory {
 public:
  explicit Memory(int64_t num) : data_(new N[num]) {}
  ~Memory() { delete[] data_; }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  N* data() const { return data_; }

 private:
  N* data_;
};

// Some columns of the output, and the two source rows that were last upsampled to them.
template <typename T>
class Tile {
 public:
  Tile(const Scores<T>& scores, int64_t begin, int64_t end)
      : scores_(scores),
        first_(scores.columns[begin].before),
        num_(scores.columns[end - 1].after + 1 - first_),
        num_strips_((end - begin + lanes - 1) / lanes),
        line_(num_ + lanes),
        strips_(num_strips_),
        wide_(2 * num_strips_ * scores.classes * lanes) {
    std::fill_n(line_.data() + num_, lanes, 0.0f);
    for (int64_t i = 0; i < num_strips_; ++i) {
      const int64_t column = begin + i * lanes;
      strips_.data()[i] = strip_of(scores.columns + column, std::min(lanes, end - column));
    }
  }

  // Returns an upsampled source row as strips x classes x lanes. It stays valid when an adjacent row is requested.
  const float* row(int64_t source) {
    const int64_t slot = source % 2;
    float* wide = wide_.data() + slot * num_strips_ * scores_.classes * lanes;
    if (held_[slot] != source) {
      tame_[slot] = widen<true>(source, wide) || (widen<false>(source, wide), false);
      held_[slot] = source;
    }
    return wide;
  }

  // Whether no score of a cached row exceeds `largest_tame`.
  bool is_tame(int64_t source) const { return tame_[source % 2]; }

 private:
  // Returns whether no score exceeds `largest_tame`. If one does, the output of widen<true>() is invalid.
  template <bool tame>
  bool widen(int64_t source, float* to) {
    float* line = line_.data();
    Ints fits = Ints{} - 1;
    for (int64_t klass = 0; klass < scores_.classes; ++klass) {
      const T* from = scores_.values + (klass * scores_.height + source) * scores_.width + first_;
      for (int64_t i = 0; i < num_; ++i) {
        line[i] = to_float(from[i]);
      }
      for (int64_t i = 0; i < num_; i += lanes) { // the line ends with zeros
        const auto scores = load<Floats>(line + i);
        fits &= (scores <= largest_tame) & (scores >= -largest_tame);
      }
      for (int64_t i = 0; i < num_strips_; ++i) {
        const Strip& strip = strips_.data()[i];
        store(widened<tame>(line + (strip.first - first_), strip), to + (i * scores_.classes + klass) * lanes);
      }
    }
    bool all_fit = true;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      all_fit = all_fit && fits[lane] != 0;
    }
    return all_fit;
  }

  const Scores<T>& scores_;
  int64_t first_, num_; // source columns
  int64_t num_strips_;
  Memory<float> line_; // followed by a vector of zeros
  Memory<Strip> strips_;
  Memory<float> wide_;
  int64_t held_[2] = {-1, -1};
  bool tame_[2] = {};
};

// Finds the best class of a strip for each of some rows between `upper` and `lower`. Ties go to the first class. The
// result is -1 where no score is above -infinity.
template <int64_t rows, bool tame>
inline void best_classes(const float* upper, const float* lower, int64_t classes, const Tap* taps, Ints* best) {
  Floats highest[rows];
  Ints chosen[rows];
  for (int64_t row = 0; row < rows; ++row) {
    highest[row] = Floats{} - std::numeric_limits<float>::infinity();
    chosen[row] = Ints{} - 1;
  }
  Ints klass = {};
  for (int64_t i = 0; i < classes; ++i, klass += 1) {
    const Floats above = load<Floats>(upper + i * lanes);
    const Floats below = load<Floats>(lower + i * lanes);
    for (int64_t row = 0; row < rows; ++row) {
      const Floats value = between_scores<tame>(above, below, Floats{} + taps[row].fraction);
      const Ints better = value > highest[row];
      highest[row] = better ? value : highest[row];
      chosen[row] = better ? klass : chosen[row];
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    best[row] = chosen[row];
  }
}

template <bool tame>
inline void best_classes(
    int64_t rows, const float* upper, const float* lower, int64_t classes, const Tap* taps, Ints* best) {
  switch (rows) {
    case 1: return best_classes<1, tame>(upper, lower, classes, taps, best);
    case 2: return best_classes<2, tame>(upper, lower, classes, taps, best);
    case 3: return best_classes<3, tame>(upper, lower, classes, taps, best);
    default: return best_classes<rows_at_once, tame>(upper, lower, classes, taps, best);
  }
}

// Returns the class of a pixel without a score above -infinity: the first class that is not NaN, or 0 if all are NaN.
inline int32_t first_number(const float* upper, const float* lower, int64_t classes, float fraction) {
  for (int64_t klass = 0; klass < classes; ++klass) {
    const float value = blend(upper[klass * lanes], lower[klass * lanes], fraction);
    if (value == value) {
      return static_cast<int32_t>(klass);
    }
  }
  return 0;
}

// Counts the consecutive rows, starting with this one, between the same two source rows. Stops at rows_at_once.
inline int64_t rows_between(const Tap* rows, int64_t num) {
  int64_t count = 1;
  while (count < std::min(num, rows_at_once) && rows[count].before == rows[0].before &&
         rows[count].after == rows[0].after) {
    ++count;
  }
  return count;
}

template <typename T>
void class_rows_of_tile(const Scores<T>& scores, int64_t begin, int64_t end, int64_t left, int64_t right, int64_t* to) {
  Tile<T> tile(scores, left, right);
  const int64_t strip_size = scores.classes * lanes;
  for (int64_t y = begin, count = 0; y < end; y += count) {
    count = rows_between(scores.rows + y, end - y);
    const float* upper = tile.row(scores.rows[y].before);
    const float* lower = tile.row(scores.rows[y].after);
    const bool tame = tile.is_tame(scores.rows[y].before) && tile.is_tame(scores.rows[y].after);
    for (int64_t x = left; x < right; x += lanes, upper += strip_size, lower += strip_size) {
      Ints best[rows_at_once];
      (tame ? best_classes<true> : best_classes<false>)(count, upper, lower, scores.classes, scores.rows + y, best);
      for (int64_t row = 0; row < count; ++row) {
        int32_t classes[lanes];
        store(best[row], classes);
        int32_t signs = 0;
        for (int64_t lane = 0; lane < lanes; ++lane) {
          signs |= classes[lane];
        }
        for (int64_t lane = 0; signs < 0 && lane < lanes; ++lane) {
          if (classes[lane] < 0) {
            classes[lane] = first_number(upper + lane, lower + lane, scores.classes, scores.rows[y + row].fraction);
          }
        }
        std::copy_n(classes, std::min(lanes, right - x), to + (y + row) * scores.num_columns + x);
      }
    }
  }
}

template <typename T>
void class_rows_of(const Scores<T>& scores, int64_t begin, int64_t end, int64_t* classes) {
  const int64_t strips = std::max<int64_t>(4, tile_numbers / (2 * lanes * scores.classes));
  for (int64_t left = 0; left < scores.num_columns; left += strips * lanes) {
    const int64_t right = std::min(scores.num_columns, left + strips * lanes);
    class_rows_of_tile(scores, begin, end, left, right, classes);
  }
}

} // namespace

MaskKernels mask_kernels() { return {place, paste}; }

template <typename T>
ClassRows<T> class_rows() {
  return class_rows_of<T>;
}

template ClassRows<float> class_rows();
template ClassRows<BFloat16> class_rows();
template ClassRows<Half> class_rows();

} // namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET
