// Rows of an id map as runs of equal ids.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace seamseg {

// Pixels from the end of the previous run to `end`, exclusive.
struct Run {
  int64_t id;
  int32_t end;
  bool border = false; // whether the pixels are near the border of their segment
};

using Runs = std::vector<Run>;

// Appends the pixels up to `end` to a row. Extends the last run if it has the same id.
inline void extend(Runs& runs, int64_t end, int64_t id) {
  if (!runs.empty() && runs.back().id == id) {
    runs.back().end = static_cast<int32_t>(end);
  } else {
    runs.push_back({id, static_cast<int32_t>(end)});
  }
}

// Returns the end of the run of equal ids that starts at x. Compares whole blocks, which compilers vectorize.
template <typename Id>
int64_t run_end(const Id* row, int64_t x, int64_t width) {
  constexpr int64_t block = 16;
  const Id id = row[x];
  for (++x; x + block <= width; x += block) {
    Id different = 0;
    for (int64_t i = 0; i < block; ++i) {
      different |= static_cast<Id>(row[x + i] ^ id);
    }
    if (different != 0) {
      break;
    }
  }
  while (x < width && row[x] == id) {
    ++x;
  }
  return x;
}

// Reads the rows of a map of any integer type.
template <typename Id>
class MapRows {
 public:
  MapRows(const Id* ids, int64_t height, int64_t width) : row_(ids), height_(height), width_(width) {}

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

  // Returns the next row, from top to bottom. The row is valid until the next call.
  const Runs& next() {
    runs_.clear();
    for (int64_t x = 0; x < width_;) {
      const Id id = row_[x];
      x = run_end(row_, x, width_);
      runs_.push_back({static_cast<int64_t>(id), static_cast<int32_t>(x)});
    }
    row_ += width_;
    return runs_;
  }

 private:
  const Id* row_;
  int64_t height_;
  int64_t width_;
  Runs runs_;
};

} // namespace seamseg
