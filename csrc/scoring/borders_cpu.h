// Finds the pixels of a segment that are near its border (Cheng et al. 2021, "Boundary IoU", section 4). A pixel is
// near the border if a pixel of another segment, or the edge of the image, is at most `band` rows and columns away. All
// segments are handled at once, row by row.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../runs.h"

namespace seamseg::scoring {

// Rows of a map, with runs cut where the border band of a segment begins or ends.
template <typename Rows>
class BorderedRows {
 public:
  BorderedRows(Rows rows, int32_t band)
      : rows_(std::move(rows)),
        band_(band),
        waiting_(static_cast<size_t>(band) + 1),
        ids_(static_cast<size_t>(rows_.width())),
        since_(static_cast<size_t>(rows_.width()), 0) {}

  int64_t height() const { return rows_.height(); }
  int64_t width() const { return rows_.width(); }

  const Runs& next() {
    while (num_read_ < rows_.height() && num_read_ <= row_ + band_) {
      Runs& runs = waiting_[static_cast<size_t>(num_read_) % waiting_.size()];
      runs = rows_.next();
      follow(runs);
      ++num_read_;
    }
    cut(waiting_[static_cast<size_t>(row_) % waiting_.size()]);
    ++row_;
    return cut_;
  }

 private:
  // Records for every column the first row since which the pixel and its `band` neighbors to both sides kept the same
  // id.
  void follow(const Runs& runs) {
    const auto here = static_cast<int32_t>(num_read_);
    int32_t start = 0;
    for (const Run& run : runs) {
      const int32_t first = std::min(start + band_, run.end);
      const int32_t last = std::max(run.end - band_, first);
      std::fill(since_.begin() + start, since_.begin() + first, here + 1);
      for (int32_t x = first; x < last; ++x) {
        since_[x] = ids_[x] == run.id ? since_[x] : here;
        ids_[x] = run.id;
      }
      std::fill(since_.begin() + last, since_.begin() + run.end, here + 1);
      start = run.end;
    }
  }

  void cut(const Runs& runs) {
    cut_.clear();
    // A pixel is inside if its column has not changed since `band` rows above. The last row read is `band` rows below.
    const bool whole = row_ + band_ < rows_.height();
    const auto limit = whole ? static_cast<int32_t>(row_ - band_) : -1;
    int32_t start = 0;
    for (const Run& run : runs) {
      const int32_t first = std::min(start + band_, run.end);
      const int32_t last = std::max(run.end - band_, first);
      int32_t done = start;
      for (int32_t x = whole ? first : last; x < last;) {
        const bool inside = since_[x] <= limit;
        const int32_t end = same_end(x, last, limit, inside);
        if (inside) {
          add(run.id, done, x, true);
          add(run.id, x, end, false);
          done = end;
        }
        x = end;
      }
      add(run.id, done, run.end, true);
      start = run.end;
    }
  }

  int32_t same_end(int32_t x, int32_t last, int32_t limit, bool inside) const {
    constexpr int32_t step = 16;
    for (; x + step <= last; x += step) {
      int32_t num_inside = 0;
      for (int32_t i = 0; i < step; ++i) {
        num_inside += since_[x + i] <= limit;
      }
      if (num_inside != (inside ? step : 0)) {
        break;
      }
    }
    while (x < last && (since_[x] <= limit) == inside) {
      ++x;
    }
    return x;
  }

  void add(int64_t id, int32_t start, int32_t end, bool border) {
    if (start < end) {
      cut_.push_back({id, end, border});
    }
  }

  Rows rows_;
  int32_t band_;
  int64_t row_ = 0;
  int64_t num_read_ = 0;
  std::vector<Runs> waiting_; // rows that were read and not returned yet
  std::vector<int64_t> ids_;
  std::vector<int32_t> since_;
  Runs cut_;
};

} // namespace seamseg::scoring
