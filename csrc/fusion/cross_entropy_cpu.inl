// Cross-entropy of upsampled scores and its gradient, included by kernels_cpu.inl.
//
// The upsampled scores exist only in registers. They are multiplied by log2(e), so powers of two take the place of
// exponentials. The forward pass subtracts the score of the pixel's class, so no maximum has to be found first: the sum
// of powers is at least 1, and its logarithm is the loss. The backward pass computes the powers again.

namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET {
namespace {

typedef uint32_t Bits __attribute__((vector_size(SEAMSEG_VECTOR_BYTES)));

constexpr float log2_e = 1.44269504f;
constexpr float ln_2 = 0.693147181f;
constexpr float infinity = std::numeric_limits<float>::infinity();

// If no score, times log2(e), exceeds this magnitude, sums of powers of their differences cannot overflow, and powers
// in the gradient are normal numbers, with up to 255 classes.
constexpr float largest_moderate = 59;

// Returns 2^x. If `bounded`, x must be in [-126, 127]. Otherwise, the result is 0 below and 2^127 above, and NaN stays
// NaN.
template <bool bounded>
inline Floats exp2(Floats x) {
  if (!bounded) {
    const Floats limited = x < -126.0f ? Floats{} - 126.0f : (x > 127.0f ? Floats{} + 127.0f : x);
    return x < -126.0f ? Floats{} : exp2<true>(limited);
  }
  // Rounds to an integer in the lowest bits, with the bias of the exponent.
  constexpr float round = 12582912.0f + 127.0f;
  const Floats rounded = x + round;
  const Floats rest = x - (rounded - round);
  const Floats power = (Floats)((Bits)rounded << 23);
  // Cephes, exp2f
  Floats value = rest * 1.535336188319500e-4f + 1.339887440266574e-3f;
  value = value * rest + 9.618437357674640e-3f;
  value = value * rest + 5.550332471162809e-2f;
  value = value * rest + 2.402264791363012e-1f;
  value = value * rest + 6.931472028550421e-1f;
  value = value * rest + 1.0f;
  return value * power;
}

// Returns the natural logarithm of normal numbers of at least 1.
inline Floats log(Floats x) {
  const Bits above = (Bits)x - 0x3f3504f3u; // sqrt(1/2), so the rest below is in [sqrt(1/2), sqrt(2))
  const Floats exponent = __builtin_convertvector((Ints)(above >> 23), Floats);
  const Floats rest = (Floats)((above & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  // Cephes, logf
  Floats value = rest * 7.0376836292e-2f - 1.1514610310e-1f;
  value = value * rest + 1.1676998740e-1f;
  value = value * rest - 1.2420140846e-1f;
  value = value * rest + 1.4249322787e-1f;
  value = value * rest - 1.6668057665e-1f;
  value = value * rest + 2.0000714765e-1f;
  value = value * rest - 2.4999993993e-1f;
  value = value * rest + 3.3333331174e-1f;
  const Floats square = rest * rest;
  value = value * rest * square - exponent * 2.12194440e-4f - square * 0.5f;
  return rest + value + exponent * 0.693359375f;
}

// Classes of a vector of pixels. Lanes of void pixels, and those after the last column, have class 0.
struct Labels {
  int32_t classes[lanes];
  int32_t known[lanes]; // -1, or 0 for void
  bool any;
};

// Sets `valid` to false if a pixel has a class that is neither void nor one of the scores.
template <typename N>
inline Labels labels_of(const N* classes, int64_t num, int64_t num_classes, bool& valid) {
  Labels labels;
  int32_t any = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t klass = lane < num ? static_cast<int64_t>(classes[lane]) : void_class;
    const bool known = klass >= 0 && klass < num_classes;
    valid = valid && (known || klass == void_class);
    labels.classes[lane] = known ? static_cast<int32_t>(klass) : 0;
    labels.known[lane] = known ? -1 : 0;
    any |= labels.known[lane];
  }
  labels.any = any != 0;
  return labels;
}

// Returns the upsampled scores of the pixels' classes.
template <bool moderate>
inline Floats scores_of(const Labels& labels, const float* upper, const float* lower, float fraction) {
  Floats above, below;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t place = labels.classes[lane] * lanes + lane;
    above[lane] = upper[place];
    below[lane] = lower[place];
  }
  return between_scores<moderate>(above, below, Floats{} + fraction);
}

template <int64_t rows, bool moderate>
inline void sum_powers(
    const float* upper, const float* lower, int64_t classes, const Tap* taps, const Floats* references, Floats* sums) {
  Floats totals[rows] = {};
  for (int64_t i = 0; i < classes; ++i) {
    const Floats above = load<Floats>(upper + i * lanes);
    const Floats below = load<Floats>(lower + i * lanes);
    for (int64_t row = 0; row < rows; ++row) {
      const Floats score = between_scores<moderate>(above, below, Floats{} + taps[row].fraction);
      totals[row] += exp2<moderate>(score - references[row]);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    sums[row] = totals[row];
  }
}

template <bool moderate>
inline void sum_powers(
    int64_t rows, const float* upper, const float* lower, int64_t classes, const Tap* taps, const Floats* references,
    Floats* sums) {
  switch (rows) {
    case 1: return sum_powers<1, moderate>(upper, lower, classes, taps, references, sums);
    case 2: return sum_powers<2, moderate>(upper, lower, classes, taps, references, sums);
    case 3: return sum_powers<3, moderate>(upper, lower, classes, taps, references, sums);
    default: return sum_powers<rows_at_once, moderate>(upper, lower, classes, taps, references, sums);
  }
}

struct Loss {
  float loss, log_sum;
};

// Computes one pixel whose sum of powers overflows or is NaN.
inline Loss exact_loss(const float* upper, const float* lower, int64_t classes, double fraction, int64_t klass) {
  const auto score = [&](int64_t i) { return (1 - fraction) * upper[i * lanes] + fraction * lower[i * lanes]; };
  double highest = score(klass);
  for (int64_t i = 0; i < classes; ++i) {
    const double value = score(i);
    highest = value > highest ? value : highest;
  }
  double sum = 0;
  for (int64_t i = 0; i < classes; ++i) {
    sum += __builtin_exp2(score(i) - highest);
  }
  const double log_sum = highest + __builtin_log2(sum);
  constexpr double ln_2 = 0.69314718055994530942;
  return {static_cast<float>((log_sum - score(klass)) * ln_2), static_cast<float>(log_sum * ln_2)};
}

// Writes the losses of up to a vector of pixels in one row.
template <bool moderate>
inline void write_losses(
    const float* upper, const float* lower, int64_t classes, float fraction, const Labels& labels, Floats reference,
    Floats sums, int64_t num, float* losses, float* log_sums) {
  const auto known = load<Ints>(labels.known);
  const Floats values = log(sums);
  float loss[lanes], log_sum[lanes];
  store(known ? values : Floats{}, loss);
  store(known ? values + reference * ln_2 : Floats{}, log_sum);
  if (!moderate) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      if (labels.known[lane] != 0 && !(sums[lane] < 0x1p100f)) {
        const Loss exact = exact_loss(upper + lane, lower + lane, classes, fraction, labels.classes[lane]);
        loss[lane] = exact.loss;
        log_sum[lane] = exact.log_sum;
      }
    }
  }
  std::copy_n(loss, num, losses);
  std::copy_n(log_sum, num, log_sums);
}

template <bool moderate>
inline bool strip_losses(
    const float* upper, const float* lower, int64_t classes, const Tap* taps, int64_t rows, int64_t num,
    int64_t num_columns, const int64_t* target, PixelLosses to) {
  bool valid = true, any = false;
  Labels labels[rows_at_once];
  Floats references[rows_at_once] = {}, sums[rows_at_once] = {};
  for (int64_t row = 0; row < rows; ++row) {
    labels[row] = labels_of(target + row * num_columns, num, classes, valid);
    references[row] = scores_of<moderate>(labels[row], upper, lower, taps[row].fraction);
    any = any || labels[row].any;
  }
  if (any) {
    sum_powers<moderate>(rows, upper, lower, classes, taps, references, sums);
  }
  for (int64_t row = 0; row < rows; ++row) {
    write_losses<moderate>(
        upper, lower, classes, taps[row].fraction, labels[row], references[row], sums[row], num,
        to.losses + row * num_columns, to.log_sums + row * num_columns);
  }
  return valid;
}

template <typename T>
bool loss_rows_of(const Scores<T>& scores, const int64_t* target, int64_t begin, int64_t end, PixelLosses to) {
  bool valid = true;
  const int64_t strip_size = scores.classes * lanes;
  const int64_t tile_columns = lanes * std::max<int64_t>(4, tile_numbers / (2 * strip_size));
  for (int64_t left = 0; left < scores.num_columns; left += tile_columns) {
    const int64_t right = std::min(scores.num_columns, left + tile_columns);
    Tile<T> tile(scores, left, right, log2_e, largest_moderate);
    for (int64_t y = begin, count = 0; y < end; y += count) {
      const Tap* taps = scores.rows + y;
      count = rows_between(taps, end - y);
      const float* upper = tile.row(taps->before);
      const float* lower = tile.row(taps->after);
      const bool moderate = tile.is_tame(taps->before) && tile.is_tame(taps->after);
      for (int64_t x = left; x < right; x += lanes, upper += strip_size, lower += strip_size) {
        const int64_t place = y * scores.num_columns + x;
        valid &= (moderate ? strip_losses<true> : strip_losses<false>)(
            upper, lower, scores.classes, taps, count, std::min(lanes, right - x), scores.num_columns, target + place,
            {to.losses + place, to.log_sums + place});
      }
    }
  }
  return valid;
}

// ---- gradient -------------------------------------------------------------------------------------------------------

inline float sum_of(Floats values) {
#if SEAMSEG_VECTOR_BYTES == 64
  // As in gather_near(), a mask of all lanes avoids a warning in GCC 12's own header.
  const __m256 first = _mm512_maskz_extractf32x8_ps(0xff, (__m512)values, 0);
  const __m256 eight = _mm256_add_ps(first, _mm512_maskz_extractf32x8_ps(0xff, (__m512)values, 1));
#elif SEAMSEG_VECTOR_BYTES == 32
  const __m256 eight = (__m256)values;
#endif
#if SEAMSEG_VECTOR_BYTES >= 32
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
  return (values[0] + values[2]) + (values[1] + values[3]);
#endif
}

// Gradients of two source rows at the output columns of a tile, laid out as in Tile. A row that is replaced is first
// added to the gradient of the scores, if it is one of `first_row` ... `end_row` - 1.
template <typename T>
class GradientTile {
 public:
  GradientTile(
      const Scores<T>& scores, int64_t begin, int64_t end, int64_t first_row, int64_t end_row, float* gradient)
      : scores_(scores),
        first_row_(first_row),
        end_row_(end_row),
        gradient_(gradient),
        num_strips_((end - begin + lanes - 1) / lanes),
        strip_size_(scores.classes * lanes),
        spans_(num_strips_),
        weights_(num_weights(scores.columns, begin, end)),
        wide_(2 * num_strips_ * strip_size_),
        used_(2 * num_strips_) {
    std::fill_n(wide_.data(), 2 * num_strips_ * strip_size_, 0.0f);
    std::fill_n(used_.data(), 2 * num_strips_, false);
    float* weights = weights_.data();
    for (int64_t i = 0; i < num_strips_; ++i) {
      const int64_t column = begin + i * lanes;
      const int64_t num = std::min(lanes, end - column);
      const Tap* taps = scores.columns + column;
      spans_.data()[i] = {taps[0].before, span_of(taps, num), weights};
      std::fill_n(weights, spans_.data()[i].num * lanes, 0.0f);
      for (int64_t lane = 0; lane < num; ++lane) {
        weights[(taps[lane].before - taps[0].before) * lanes + lane] += 1 - taps[lane].fraction;
        weights[(taps[lane].after - taps[0].before) * lanes + lane] += taps[lane].fraction;
      }
      weights += spans_.data()[i].num * lanes;
    }
  }

  // Returns the row as strips x classes x lanes. It stays valid when an adjacent row is requested.
  float* row(int64_t source) {
    const int64_t slot = source % 2;
    if (held_[slot] != source) {
      release(slot);
      held_[slot] = source;
    }
    return wide_.data() + slot * num_strips_ * strip_size_;
  }

  // Marks that a strip of a row has a gradient.
  void use(int64_t source, int64_t strip) { used_.data()[source % 2 * num_strips_ + strip] = true; }

  void release_all() {
    release(0);
    release(1);
  }

 private:
  // Source columns of a strip, and the weight of each in every lane.
  struct Span {
    int64_t first, num;
    const float* weights;
  };

  static int64_t span_of(const Tap* taps, int64_t num) { return taps[num - 1].after - taps[0].before + 1; }

  static int64_t num_weights(const Tap* columns, int64_t begin, int64_t end) {
    int64_t num = 0;
    for (int64_t column = begin; column < end; column += lanes) {
      num += span_of(columns + column, std::min(lanes, end - column)) * lanes;
    }
    return num;
  }

  void release(int64_t slot) {
    const int64_t source = held_[slot];
    for (int64_t i = 0; i < num_strips_; ++i) {
      bool& used = used_.data()[slot * num_strips_ + i];
      if (!used) {
        continue;
      }
      used = false;
      float* wide = wide_.data() + (slot * num_strips_ + i) * strip_size_;
      if (source >= first_row_ && source < end_row_) {
        narrow(wide, spans_.data()[i], gradient_ + source * scores_.width);
      }
      std::fill_n(wide, strip_size_, 0.0f);
    }
  }

  void narrow(const float* wide, const Span& span, float* to) const {
    for (int64_t klass = 0; klass < scores_.classes; ++klass) {
      const Floats values = load<Floats>(wide + klass * lanes);
      float* line = to + klass * scores_.height * scores_.width + span.first;
      for (int64_t i = 0; i < span.num; ++i) {
        line[i] += sum_of(values * load<Floats>(span.weights + i * lanes));
      }
    }
  }

  const Scores<T>& scores_;
  int64_t first_row_, end_row_;
  float* gradient_;
  int64_t num_strips_, strip_size_;
  Memory<Span> spans_;
  Memory<float> weights_;
  Memory<float> wide_;
  Memory<bool> used_;
  int64_t held_[2] = {-1, -1};
};

// Adds the gradients of a strip of pixels to those of the source rows. The two rows may be the same one.
template <int64_t rows, bool moderate>
inline void add_powers(
    const float* upper, const float* lower, int64_t classes, const Tap* taps, const Floats* log_sums,
    const Floats* weights, float* to_upper, float* to_lower) {
  for (int64_t i = 0; i < classes; ++i) {
    const Floats above = load<Floats>(upper + i * lanes);
    const Floats below = load<Floats>(lower + i * lanes);
    Floats total{}, of_lower{};
    for (int64_t row = 0; row < rows; ++row) {
      const Floats fraction = Floats{} + taps[row].fraction;
      const Floats score = between_scores<moderate>(above, below, fraction);
      Floats exponent = score - log_sums[row];
      if (!moderate) {
        exponent = weights[row] == 0 ? Floats{} - infinity : exponent; // NaN of a pixel that is not chosen
        exponent = exponent > 0 ? Floats{} : exponent; // rounding of large scores
      }
      const Floats gradient = exp2<moderate>(exponent) * weights[row];
      total += gradient;
      of_lower += gradient * fraction;
    }
    store(load<Floats>(to_upper + i * lanes) + (total - of_lower), to_upper + i * lanes);
    store(load<Floats>(to_lower + i * lanes) + of_lower, to_lower + i * lanes);
  }
}

template <bool moderate>
inline void add_powers(
    int64_t rows, const float* upper, const float* lower, int64_t classes, const Tap* taps, const Floats* log_sums,
    const Floats* weights, float* to_upper, float* to_lower) {
  switch (rows) {
    case 1: return add_powers<1, moderate>(upper, lower, classes, taps, log_sums, weights, to_upper, to_lower);
    case 2: return add_powers<2, moderate>(upper, lower, classes, taps, log_sums, weights, to_upper, to_lower);
    case 3: return add_powers<3, moderate>(upper, lower, classes, taps, log_sums, weights, to_upper, to_lower);
    default:
      return add_powers<rows_at_once, moderate>(upper, lower, classes, taps, log_sums, weights, to_upper, to_lower);
  }
}

// Chosen pixels of a strip in up to `rows_at_once` rows.
struct ChosenStrip {
  Labels labels[rows_at_once];
  Floats log_sums[rows_at_once];
  Floats weights[rows_at_once];
  bool any = false;

  ChosenStrip(
      const Chosen& chosen, int64_t num_classes, int64_t place, int64_t rows, int64_t num_columns, int64_t num) {
    bool valid = true; // the forward pass has checked the classes
    for (int64_t row = 0; row < rows; ++row, place += num_columns) {
      labels[row] = labels_of(chosen.classes + place, num, num_classes, valid);
      any = any || labels[row].any;
      float sums[lanes] = {};
      std::copy_n(chosen.log_sums + place, num, sums);
      log_sums[row] = load<Floats>(sums) * log2_e;
      Floats weight = Floats{} + *chosen.weight;
      if (chosen.factors != nullptr) {
        float factors[lanes] = {};
        std::copy_n(chosen.factors + place, num, factors);
        weight *= load<Floats>(factors);
      }
      weights[row] = load<Ints>(labels[row].known) ? weight : Floats{};
    }
  }

  // Subtracts the weights at the pixels' classes.
  void subtract_targets(const Tap* taps, int64_t rows, float* to_upper, float* to_lower) const {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        if (labels[row].known[lane] != 0) {
          const int64_t place = labels[row].classes[lane] * lanes + lane;
          to_upper[place] -= (1 - taps[row].fraction) * weights[row][lane];
          to_lower[place] -= taps[row].fraction * weights[row][lane];
        }
      }
    }
  }
};

inline bool any_chosen(
    const Chosen& chosen, int64_t first_row, int64_t rows, int64_t left, int64_t right, int64_t num_columns) {
  uint8_t all = void_class;
  for (int64_t row = first_row; row < first_row + rows; ++row) {
    for (int64_t x = left; x < right; ++x) {
      all &= chosen.classes[row * num_columns + x];
    }
  }
  return all != void_class;
}

template <typename T>
void gradient_rows_of_tile(
    const Scores<T>& scores, const Chosen& chosen, int64_t begin, int64_t end, int64_t left, int64_t right,
    GradientTile<T>& gradients) {
  Tile<T> tile(scores, left, right, log2_e, largest_moderate);
  const int64_t strip_size = scores.classes * lanes;
  for (int64_t y = 0, count = 0; y < scores.num_rows && scores.rows[y].before < end; y += count) {
    const Tap* taps = scores.rows + y;
    count = rows_between(taps, scores.num_rows - y);
    if (taps->after < begin || !any_chosen(chosen, y, count, left, right, scores.num_columns)) {
      continue;
    }
    const float* upper = tile.row(taps->before);
    const float* lower = tile.row(taps->after);
    float* to_upper = gradients.row(taps->before);
    float* to_lower = gradients.row(taps->after);
    const bool moderate = tile.is_tame(taps->before) && tile.is_tame(taps->after);
    for (int64_t x = left, at = 0; x < right; x += lanes, at += strip_size) {
      const int64_t place = y * scores.num_columns + x;
      const ChosenStrip strip(
          chosen, scores.classes, place, count, scores.num_columns, std::min(lanes, right - x));
      if (strip.any) {
        (moderate ? add_powers<true> : add_powers<false>)(
            count, upper + at, lower + at, scores.classes, taps, strip.log_sums, strip.weights, to_upper + at,
            to_lower + at);
        strip.subtract_targets(taps, count, to_upper + at, to_lower + at);
        gradients.use(taps->before, at / strip_size);
        gradients.use(taps->after, at / strip_size);
      }
    }
  }
}

template <typename T>
void gradient_rows_of(const Scores<T>& scores, const Chosen& chosen, int64_t begin, int64_t end, float* gradient) {
  const int64_t tile_columns = lanes * std::max<int64_t>(4, tile_numbers / (4 * scores.classes * lanes));
  for (int64_t left = 0; left < scores.num_columns; left += tile_columns) {
    const int64_t right = std::min(scores.num_columns, left + tile_columns);
    GradientTile<T> gradients(scores, left, right, begin, end, gradient);
    gradient_rows_of_tile(scores, chosen, begin, end, left, right, gradients);
    gradients.release_all();
  }
}

} // namespace
} // namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET
