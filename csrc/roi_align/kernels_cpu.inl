// Kernels of the CPU operators. Each kernels_*_cpu.cpp includes this file after it has set the instruction set and the
// namespace. Therefore this file must not include system headers.

namespace seamseg::roi_align::SEAMSEG_INSTRUCTION_SET {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;

#include "../packs_cpu.inl"

// ---- channels last: all channels of a pixel at once -----------------------------------------------------------------

template <typename T>
void sample_pixels(const T* level, Extents extents, Grid grid, int64_t num, T* features) {
  for (int64_t i = 0; i < grid.size; ++i) {
    const Tap row = grid.rows[i];
    const T* upper = level + row.low * extents.width * extents.channels;
    const T* lower = level + row.high * extents.width * extents.channels;
    for (int64_t j = 0; j < grid.size; ++j, features += extents.channels) {
      const Tap column = grid.columns[j];
      const int64_t left = column.low * extents.channels;
      const int64_t right = column.high * extents.channels;
      for_packs<float>(num, [&](int64_t at, auto extent, auto) {
        const Pack<float> above =
            column.low_weight * read(upper + left + at, extent) + column.high_weight * read(upper + right + at, extent);
        const Pack<float> below =
            column.low_weight * read(lower + left + at, extent) + column.high_weight * read(lower + right + at, extent);
        write(row.low_weight * above + row.high_weight * below, features + at, extent);
      });
    }
  }
}

template <typename T>
void spread_pixels(const T* gradient, Extents extents, Grid grid, int64_t num, float* level) {
  for (int64_t i = 0; i < grid.size; ++i) {
    const Tap row = grid.rows[i];
    float* upper = level + row.low * extents.width * extents.channels;
    float* lower = level + row.high * extents.width * extents.channels;
    for (int64_t j = 0; j < grid.size; ++j, gradient += extents.channels) {
      const Tap column = grid.columns[j];
      if (!row.is_inside() || !column.is_inside()) {
        continue;
      }
      const int64_t left = column.low * extents.channels;
      const int64_t right = column.high * extents.channels;
      for_packs<float>(num, [&](int64_t at, auto extent, auto) {
        const Pack<float> value = read(gradient + at, extent);
        const auto add = [&](float* pixel, float weight) { // two pixels may be the same
          write(read(pixel + at, extent) + weight * value, pixel + at, extent);
        };
        add(upper + left, row.low_weight * column.low_weight);
        add(upper + right, row.low_weight * column.high_weight);
        add(lower + left, row.high_weight * column.low_weight);
        add(lower + right, row.high_weight * column.high_weight);
      });
    }
  }
}

// ---- contiguous: interpolate between rows, then within the row ------------------------------------------------------

// Some columns of bins, and the pixels that they are sampled from.
struct Strip {
  int64_t bins;
  int64_t first; // pixel
  int64_t num; // of pixels
  int32_t low[strip_lanes], high[strip_lanes]; // relative to `first`
  float low_weight[strip_lanes], high_weight[strip_lanes];
};

inline Strip strip_of(const Tap* columns, int64_t bins) {
  Strip strip{bins, columns[0].low, 0, {}, {}, {}, {}};
  int64_t last = columns[0].high;
  for (int64_t j = 1; j < bins; ++j) {
    strip.first = std::min<int64_t>(strip.first, columns[j].low);
    last = std::max<int64_t>(last, columns[j].high);
  }
  strip.num = last + 1 - strip.first;
  for (int64_t j = 0; j < bins; ++j) {
    strip.low[j] = static_cast<int32_t>(columns[j].low - strip.first);
    strip.high[j] = static_cast<int32_t>(columns[j].high - strip.first);
    strip.low_weight[j] = columns[j].low_weight;
    strip.high_weight[j] = columns[j].high_weight;
  }
  return strip;
}

// Interpolates within a row of pixels.
template <typename T>
inline void sample_line(const float* line, const Strip& strip, T* features) {
#if SEAMSEG_VECTOR_BYTES == 64
  if (strip.num <= 2 * strip_lanes) {
    const Part extent{strip.bins};
    const __m512 front = _mm512_loadu_ps(line);
    const __m512 back = _mm512_loadu_ps(line + strip_lanes);
    const auto low = (Pack<float>)_mm512_permutex2var_ps(front, _mm512_loadu_si512(strip.low), back);
    const auto high = (Pack<float>)_mm512_permutex2var_ps(front, _mm512_loadu_si512(strip.high), back);
    const auto low_weight = (Pack<float>)_mm512_loadu_ps(strip.low_weight);
    const auto high_weight = (Pack<float>)_mm512_loadu_ps(strip.high_weight);
    write(low_weight * low + high_weight * high, features, extent);
    return;
  }
#endif
  float sampled[strip_lanes];
  for (int64_t j = 0; j < strip.bins; ++j) {
    sampled[j] = strip.low_weight[j] * line[strip.low[j]] + strip.high_weight[j] * line[strip.high[j]];
  }
  for_packs<float>(
      strip.bins, [&](int64_t at, auto extent, auto) { write(read(sampled + at, extent), features + at, extent); });
}

template <typename T>
void sample_planes(const T* level, Extents extents, Grid grid, int64_t num, T* features, float* line) {
  std::fill_n(line, 2 * strip_lanes, 0.0f);
  for (int64_t begin = 0; begin < grid.size; begin += strip_bins) {
    const Strip strip = strip_of(grid.columns + begin, std::min(strip_bins, grid.size - begin));
    for (int64_t channel = 0; channel < num; ++channel) {
      const T* plane = level + channel * extents.height * extents.width + strip.first;
      T* to = features + channel * grid.size * grid.size + begin;
      for (int64_t i = 0; i < grid.size; ++i, to += grid.size) {
        const Tap row = grid.rows[i];
        const T* upper = plane + row.low * extents.width;
        const T* lower = plane + row.high * extents.width;
        for_packs<float>(strip.num, [&](int64_t at, auto extent, auto) {
          write(
              row.low_weight * read(upper + at, extent) + row.high_weight * read(lower + at, extent), line + at,
              extent);
        });
        sample_line(line, strip, to);
      }
    }
  }
}

// Contributions of the bins of a strip to the pixels of a row. Each layer has at most one bin per pixel; the others
// refer to the zero after the bins.
struct Contributions {
  int64_t layers = 0;
  int64_t stride; // between layers
  int32_t* bins;
  float* weights;
};

inline Contributions contributions_of(const Strip& strip, float* scratch) {
  Contributions all;
  all.stride = (strip.num + strip_lanes - 1) / strip_lanes * strip_lanes;
  all.weights = scratch;
  all.bins = reinterpret_cast<int32_t*>(scratch + 2 * strip_lanes * all.stride);
  const auto add = [&](int32_t pixel, float weight, int64_t bin) {
    int64_t layer = 0;
    while (layer < all.layers && all.bins[layer * all.stride + pixel] != strip_bins) {
      ++layer;
    }
    if (layer == all.layers) {
      std::fill_n(all.bins + layer * all.stride, all.stride, static_cast<int32_t>(strip_bins));
      std::fill_n(all.weights + layer * all.stride, all.stride, 0.0f);
      ++all.layers;
    }
    all.bins[layer * all.stride + pixel] = static_cast<int32_t>(bin);
    all.weights[layer * all.stride + pixel] = weight;
  };
  for (int64_t bin = 0; bin < strip.bins; ++bin) {
    if (strip.low_weight[bin] != 0) {
      add(strip.low[bin], strip.low_weight[bin], bin);
    }
    if (strip.high_weight[bin] != 0) {
      add(strip.high[bin], strip.high_weight[bin], bin);
    }
  }
  return all;
}

// Looks up values of bins.
inline Pack<float> pick(const float* bins, const int32_t* at) {
#if SEAMSEG_VECTOR_BYTES == 64
  return (Pack<float>)_mm512_maskz_permutexvar_ps(0xffff, _mm512_loadu_si512(at), _mm512_loadu_ps(bins));
#else
  Pack<float> picked;
  for (int64_t lane = 0; lane < width<float>; ++lane) {
    picked[lane] = bins[at[lane]];
  }
  return picked;
#endif
}

template <typename T>
void spread_planes(const T* gradient, Extents extents, Grid grid, int64_t num, float* level, float* scratch) {
  for (int64_t begin = 0; begin < grid.size; begin += strip_bins) {
    const Strip strip = strip_of(grid.columns + begin, std::min(strip_bins, grid.size - begin));
    float* line = scratch;
    const Contributions all = contributions_of(strip, scratch + extents.width + strip_lanes);
    float bins[strip_lanes] = {};
    for (int64_t channel = 0; channel < num; ++channel) {
      float* plane = level + channel * extents.height * extents.width + strip.first;
      const T* from = gradient + channel * grid.size * grid.size + begin;
      for (int64_t i = 0; i < grid.size; ++i, from += grid.size) {
        const Tap row = grid.rows[i];
        if (!row.is_inside()) {
          continue;
        }
        for_packs<float>(
            strip.bins, [&](int64_t at, auto extent, auto) { write(read(from + at, extent), bins + at, extent); });
        for (int64_t at = 0; at < all.stride; at += width<float>) {
          Pack<float> sum = {};
          for (int64_t layer = 0; layer < all.layers; ++layer) {
            const int64_t offset = layer * all.stride + at;
            sum += read(all.weights + offset, Whole()) * pick(bins, all.bins + offset);
          }
          write(sum, line + at, Whole());
        }
        float* upper = plane + row.low * extents.width;
        float* lower = plane + row.high * extents.width;
        for_packs<float>(strip.num, [&](int64_t at, auto extent, auto) {
          const Pack<float> sum = read(line + at, extent);
          write(read(upper + at, extent) + row.low_weight * sum, upper + at, extent);
          write(read(lower + at, extent) + row.high_weight * sum, lower + at, extent);
        });
      }
    }
  }
}

} // namespace

template <typename T>
Kernels<T> kernels() {
  return {sample_planes<T>, sample_pixels<T>, spread_planes<T>, spread_pixels<T>};
}

template Kernels<float> kernels();
template Kernels<BFloat16> kernels();

} // namespace seamseg::roi_align::SEAMSEG_INSTRUCTION_SET
