// Numbers of any type, read and written in the type that is computed in. Included by kernels_cpu.inl.

// A tile of float16 numbers is widened into a buffer, since compilers don't turn its conversion into vectors.
constexpr int64_t tile = 256;

#if defined(__clang__) || __GNUC__ >= 11
#define SEAMSEG_BIT_CAST(type, value) __builtin_bit_cast(type, value)
#else
#error "the kernels need GCC 11 or newer, or clang"
#endif

inline float widen(BFloat16 value) {
  return SEAMSEG_BIT_CAST(float, static_cast<uint32_t>(value.x) << 16);
}

// Rounds to the nearest, ties to even; not-a-number stays one.
inline uint16_t narrow(float value) {
  const auto bits = SEAMSEG_BIT_CAST(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) <= 0x7f800000u ? rounded : 0x7fc0u);
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

// A tile of an argument: of(from, num)[i] is number i. Float and double are read where they lie.
template <typename T>
struct Source {
  const T* of(const T* from, int64_t) { return from; }
};

struct WidenedNumbers {
  const BFloat16* from;
  float operator[](int64_t i) const { return widen(from[i]); }
};

template <>
struct Source<BFloat16> {
  WidenedNumbers of(const BFloat16* from, int64_t) { return {from}; }
};

template <>
struct Source<Half> {
  alignas(64) float buffer[tile];

  const float* of(const Half* from, int64_t num) {
    widen(from, buffer, num);
    return buffer;
  }
};

// A tile of a result: of(to)[i] = number, and done(to, num) behind the last.
template <typename T>
struct Target {
  T* of(T* to) { return to; }
  void done(T*, int64_t) {}
};

struct NarrowedNumber {
  BFloat16* to;
  void operator=(float value) const { to->x = narrow(value); }
};

struct NarrowedNumbers {
  BFloat16* to;
  NarrowedNumber operator[](int64_t i) const { return {to + i}; }
};

template <>
struct Target<BFloat16> {
  NarrowedNumbers of(BFloat16* to) { return {to}; }
  void done(BFloat16*, int64_t) {}
};

template <>
struct Target<Half> {
  alignas(64) float buffer[tile];

  float* of(Half*) { return buffer; }
  void done(Half* to, int64_t num) { narrow(buffer, to, num); }
};

// A constant of a run, the same for all its numbers.
template <typename A>
struct Same {
  A value;
  A operator[](int64_t) const { return value; }
};

template <typename A>
Same<A> constant_at(A value, int64_t) {
  return {value};
}

template <typename A>
const A* constant_at(const A* values, int64_t column) {
  return values + column;
}

// A residual, or zeros in its place.
template <typename T, bool present>
struct Residual {
  Source<T> source;

  auto of(const T* from, int64_t offset, int64_t num) {
    if constexpr (present) {
      return source.of(from + offset, num);
    } else {
      return Same<Compute<T>>{0};
    }
  }
};

template <typename Use>
inline void for_tiles(int64_t num, const Use& use) {
  for (int64_t begin = 0; begin < num; begin += tile) {
    use(begin, num - begin < tile ? num - begin : tile);
  }
}
