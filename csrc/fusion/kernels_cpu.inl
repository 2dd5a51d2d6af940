// Kernels of the CPU operators. Each kernels_*_cpu.cpp includes this file after it has set the instruction set, the
// vector size and the namespace. Therefore this file must not include system headers.

#include "upsampling_cpu.inl"

#include "cross_entropy_cpu.inl"

namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET {
namespace {

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
// All output rows between the same two source rows keep their best score and its class in registers; see
// upsampling_cpu.inl.

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
ScoreKernels<T> score_kernels() {
  return {class_rows_of<T>, loss_rows_of<T>, gradient_rows_of<T>};
}

template ScoreKernels<float> score_kernels();
template ScoreKernels<BFloat16> score_kernels();
template ScoreKernels<Half> score_kernels();

} // namespace seamseg::fusion::SEAMSEG_INSTRUCTION_SET
