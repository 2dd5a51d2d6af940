// Rows of an id map as runs of equal ids: what the counting of overlaps reads, from tensors and from files.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace seamseg::scoring {

// Pixels from the end of the run before it to `end`, exclusive.
struct Run {
  int64_t id;
  int32_t end;
  bool border = false; // of the segment: near to pixels of another one
};

using Runs = std::vector<Run>;

// Continues a row up to `end`.
inline void extend(Runs& runs, int64_t end, int64_t id) {
  if (!runs.empty() && runs.back().id == id) {
    runs.back().end = static_cast<int32_t>(end);
  } else {
    runs.push_back({id, static_cast<int32_t>(end)});
  }
}

// The rows of a map of any integer type.
template <typename Id>
class MapRows {
 public:
  MapRows(const Id* ids, int64_t height, int64_t width) : row_(ids), height_(height), width_(width) {}

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

  // Each row once, from top to bottom; valid until the next call.
  const Runs& next() {
    runs_.clear();
    for (int64_t x = 0; x < width_;) {
      const Id id = row_[x];
      x = run_end(x, id);
      runs_.push_back({static_cast<int64_t>(id), static_cast<int32_t>(x)});
    }
    row_ += width_;
    return runs_;
  }

 private:
  int64_t run_end(int64_t x, Id id) const {
    constexpr int64_t step = 8;
    for (; x + step <= width_; x += step) {
      Id different = 0; // no early exit inside: the compiler then compares all of them at once
      for (int64_t i = 0; i < step; ++i) {
        different |= static_cast<Id>(row_[x + i] ^ id);
      }
      if (different != 0) {
        break;
      }
    }
    while (x < width_ && row_[x] == id) {
      ++x;
    }
    return x;
  }

  const Id* row_;
  int64_t height_;
  int64_t width_;
  Runs runs_;
};

} // namespace seamseg::scoring
