// Packs: as many numbers in the compute type as a vector of the instruction set holds. The kernels_cpu.inl of the
// operators include this file into their namespace.

#if defined(__clang__) || __GNUC__ >= 11
#define SEAMSEG_BIT_CAST(type, value) __builtin_bit_cast(type, value)
#else
#error "the kernels need GCC 11 or newer, or clang"
#endif

#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" // in GCC 12's own intrinsics
#endif

constexpr int vector_bytes = SEAMSEG_VECTOR_BYTES;

template <typename N, int bytes>
struct VectorOf {
  typedef N type __attribute__((vector_size(bytes)));
};

template <typename A>
using Pack = typename VectorOf<A, vector_bytes>::type;

template <typename A>
constexpr int64_t width = vector_bytes / sizeof(A);

using Words = typename VectorOf<uint32_t, vector_bytes>::type;
using Halves = typename VectorOf<uint16_t, vector_bytes / 2>::type;

// ---- extents: how much of a pack is in memory -----------------------------------------------------------------------

struct Whole {
  template <typename Raw>
  Raw load(const void* from) const {
    Raw raw;
    __builtin_memcpy(&raw, from, sizeof(Raw));
    return raw;
  }

  template <typename Raw>
  void store(Raw raw, void* to) const {
    __builtin_memcpy(to, &raw, sizeof(Raw));
  }

  template <typename P>
  P only(P pack) const {
    return pack;
  }
};

// Writes past the caches. The memory is not read before it is overwritten, and no cached data is evicted. The address
// must be a multiple of the vector size.
struct Streamed : Whole {
  template <typename Raw>
  void store(Raw raw, void* to) const {
#ifdef __x86_64__
    if constexpr (sizeof(Raw) == 8) {
      _mm_stream_si64(static_cast<long long*>(to), SEAMSEG_BIT_CAST(long long, raw));
    } else if constexpr (sizeof(Raw) == 16) {
      _mm_stream_si128(static_cast<__m128i*>(to), (__m128i)raw);
    } else if constexpr (sizeof(Raw) == 32) {
      _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)raw);
    } else {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)raw);
    }
#else
    Whole::store(raw, to);
#endif
  }
};

// Other threads see writes past the caches only after this call.
inline void finish_stream() {
#ifdef __x86_64__
  _mm_sfence();
#endif
}

// The first `num` numbers of a pack, fewer than the pack holds. The others are loaded as zeros.
struct Part {
  int64_t num;

#ifdef SEAMSEG_MASKED_VECTORS
  uint32_t mask() const { return (1u << num) - 1; }

  template <typename Raw>
  Raw load(const void* from) const {
    if constexpr (sizeof(Raw{}[0]) == 2) {
      return (Raw)_mm256_maskz_loadu_epi16(mask(), from);
    } else if constexpr (sizeof(Raw{}[0]) == 4) {
      return (Raw)_mm512_maskz_loadu_epi32(mask(), from);
    } else {
      return (Raw)_mm512_maskz_loadu_epi64(mask(), from);
    }
  }

  template <typename Raw>
  void store(Raw raw, void* to) const {
    if constexpr (sizeof(Raw{}[0]) == 2) {
      _mm256_mask_storeu_epi16(to, mask(), (__m256i)raw);
    } else if constexpr (sizeof(Raw{}[0]) == 4) {
      _mm512_mask_storeu_epi32(to, mask(), (__m512i)raw);
    } else {
      _mm512_mask_storeu_epi64(to, mask(), (__m512i)raw);
    }
  }

  // Sets the other numbers to zero.
  template <typename P>
  P only(P pack) const {
    if constexpr (sizeof(pack[0]) == 4) {
      return (P)_mm512_maskz_mov_epi32(mask(), (__m512i)pack);
    } else {
      return (P)_mm512_maskz_mov_epi64(mask(), (__m512i)pack);
    }
  }
#else
  template <typename Raw>
  Raw load(const void* from) const {
    Raw raw = {};
    __builtin_memcpy(&raw, from, num * sizeof(raw[0]));
    return raw;
  }

  template <typename Raw>
  void store(Raw raw, void* to) const {
    __builtin_memcpy(to, &raw, num * sizeof(raw[0]));
  }

  // Sets the other numbers to zero.
  template <typename P>
  P only(P pack) const {
    P result = {};
    __builtin_memcpy(&result, &pack, num * sizeof(pack[0]));
    return result;
  }
#endif
};

// ---- types ----------------------------------------------------------------------------------------------------------

// Storage format of a type, and its conversions to and from the compute type.
template <typename T>
struct Format {
  using Raw = Pack<T>;
  static Pack<T> widen(Raw raw) { return raw; }
  static Raw narrow(Pack<T> pack) { return pack; }
};

template <>
struct Format<BFloat16> {
  using Raw = Halves;

  static Pack<float> widen(Raw raw) {
#ifdef SEAMSEG_MASKED_VECTORS
    // A single permutation replaces a conversion and a shift.
    const __m512i to_upper_halves = _mm512_set_epi16(
        15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);
    const __m512i lower_half = _mm512_zextsi256_si512((__m256i)raw);
    return (Pack<float>)_mm512_maskz_permutexvar_epi16(0xaaaaaaaau, to_upper_halves, lower_half);
#else
    return SEAMSEG_BIT_CAST(Pack<float>, __builtin_convertvector(raw, Words) << 16);
#endif
  }

  // Rounds to nearest, ties to even. NaN stays NaN. The instruction treats numbers below 1e-38 as zero.
  static Raw narrow(Pack<float> pack) {
#ifdef SEAMSEG_BFLOAT16_VECTORS
    return (Raw)_mm512_cvtneps_pbh((__m512)pack);
#else
    const Words bits = SEAMSEG_BIT_CAST(Words, pack);
    const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Words no_number = Words{} + 0x7fc0u;
    return __builtin_convertvector((bits & 0x7fffffffu) <= 0x7f800000u ? rounded : no_number, Halves);
#endif
  }
};

template <>
struct Format<Half> {
  using Raw = Halves;

  static Pack<float> widen(Raw raw) {
#if SEAMSEG_VECTOR_BYTES == 64
    return (Pack<float>)_mm512_maskz_cvtph_ps(0xffffu, (__m256i)raw);
#elif SEAMSEG_VECTOR_BYTES == 32
    return (Pack<float>)_mm256_cvtph_ps((__m128i)raw);
#else
    Pack<float> pack;
    for (int64_t i = 0; i < width<float>; ++i) {
      pack[i] = static_cast<float>(Half(raw[i], Half::from_bits()));
    }
    return pack;
#endif
  }

  static Raw narrow(Pack<float> pack) {
#if SEAMSEG_VECTOR_BYTES == 64
    return (Raw)_mm512_maskz_cvtps_ph(0xffffu, (__m512)pack, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif SEAMSEG_VECTOR_BYTES == 32
    return (Raw)_mm256_cvtps_ph((__m256)pack, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    Raw raw;
    for (int64_t i = 0; i < width<float>; ++i) {
      raw[i] = static_cast<Half>(pack[i]).x;
    }
    return raw;
#endif
  }
};

template <typename T, typename Extent>
inline Pack<Compute<T>> read(const T* from, Extent extent) {
  return Format<T>::widen(extent.template load<typename Format<T>::Raw>(from));
}

template <typename T, typename Extent>
inline void write(Pack<Compute<T>> pack, T* to, Extent extent) {
  extent.store(Format<T>::narrow(pack), to);
}

// Selects how a piece of an output is written: whole packs past the caches, or with the extent it was read with.
template <bool streams>
inline auto written(Whole whole) {
  return std::conditional_t<streams, Streamed, Whole>();
}

template <bool streams>
inline Part written(Part part) {
  return part;
}

// ---- loops ----------------------------------------------------------------------------------------------------------

// Calls use(offset, extent, turn) for the packs of `num` numbers. `turn` alternates between 0 and 1. With one
// accumulator per turn, an addition does not have to wait for the previous one.
template <typename A, typename Use>
inline void for_packs(int64_t num, const Use& use) {
  constexpr std::integral_constant<int, 0> even;
  constexpr std::integral_constant<int, 1> odd;
  int64_t offset = 0;
  for (; offset + 2 * width<A> <= num; offset += 2 * width<A>) {
    use(offset, Whole(), even);
    use(offset + width<A>, Whole(), odd);
  }
  if (offset + width<A> <= num) {
    use(offset, Whole(), even);
    offset += width<A>;
  }
  if (offset < num) {
    use(offset, Part{num - offset}, odd);
  }
}

// Sums the accumulators of both turns.
template <typename A>
inline A sum_of(const Pack<A> (&turns)[2]) {
  A lanes[width<A>];
  const Pack<A> both = turns[0] + turns[1];
  __builtin_memcpy(lanes, &both, sizeof(lanes));
  for (int64_t step = width<A> / 2; step > 0; step /= 2) {
    for (int64_t i = 0; i < step; ++i) {
      lanes[i] += lanes[i + step];
    }
  }
  return lanes[0];
}
