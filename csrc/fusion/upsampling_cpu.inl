// Bilinear upsampling of class scores in vectors of pixels, included by kernels_cpu.inl.
//
// Each output row lies between two source rows. These are upsampled to the output width once, in tiles that stay in the
// cache. The layout puts the scores of all classes for a vector of pixels next to each other.

namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

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
// others, mainly infinity and NaN, are interpolated as in blend(). A tile may set a lower limit.
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

// Some columns of the output, and the two source rows that were last upsampled to them. All scores are multiplied by
// `unit`.
template <typename T>
class Tile {
 public:
  Tile(const Scores<T>& scores, int64_t begin, int64_t end, float unit = 1, float limit = largest_tame)
      : scores_(scores),
        unit_(unit),
        limit_(limit),
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

  // Whether no score of a cached row exceeds the limit.
  bool is_tame(int64_t source) const { return tame_[source % 2]; }

 private:
  // Returns whether no score exceeds the limit. If one does, the output of widen<true>() is invalid.
  template <bool tame>
  bool widen(int64_t source, float* to) {
    float* line = line_.data();
    Ints fits = Ints{} - 1;
    for (int64_t klass = 0; klass < scores_.classes; ++klass) {
      const T* from = scores_.values + (klass * scores_.height + source) * scores_.width + first_;
      for (int64_t i = 0; i < num_; ++i) {
        line[i] = to_float(from[i]) * unit_;
      }
      for (int64_t i = 0; i < num_; i += lanes) { // the line ends with zeros
        const auto scores = load<Floats>(line + i);
        fits &= (scores <= limit_) & (scores >= -limit_);
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
  float unit_, limit_;
  int64_t first_, num_; // source columns
  int64_t num_strips_;
  Memory<float> line_; // followed by a vector of zeros
  Memory<Strip> strips_;
  Memory<float> wide_;
  int64_t held_[2] = {-1, -1};
  bool tame_[2] = {};
};

// Counts the consecutive rows, starting with this one, between the same two source rows. Stops at rows_at_once.
inline int64_t rows_between(const Tap* rows, int64_t num) {
  int64_t count = 1;
  while (count < std::min(num, rows_at_once) && rows[count].before == rows[0].before &&
         rows[count].after == rows[0].after) {
    ++count;
  }
  return count;
}

} // namespace
} // namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET
