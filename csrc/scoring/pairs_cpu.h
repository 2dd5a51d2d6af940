// Table of pairs of segments and the number of pixels they share.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../runs.h"

namespace seamseg::scoring {

struct Pair {
  int64_t true_id;
  int64_t predicted_id;
  // By location: inside both segments, in the predicted border, in the true border, in both borders.
  std::array<int64_t, 4> pixels;
};

class Pairs {
 public:
  Pairs() : slots_(64, none) {}

  // Pairs in order of first occurrence.
  const std::vector<Pair>& rows() const { return rows_; }

  // Adds an image, given the rows of both maps.
  template <typename TrueRows, typename PredictedRows>
  void add(TrueRows& true_rows, PredictedRows& predicted_rows) {
    for (int64_t row = 0; row < true_rows.height(); ++row) {
      add_row(true_rows.next(), predicted_rows.next());
    }
  }

 private:
  static constexpr uint32_t none = UINT32_MAX;

  void add_row(const Runs& true_runs, const Runs& predicted_runs) {
    const Run* predicted = predicted_runs.data();
    int32_t x = 0;
    for (const Run& run : true_runs) {
      while (x < run.end) {
        const int32_t end = std::min(run.end, predicted->end);
        find(run.id, predicted->id).pixels[2 * run.border + predicted->border] += end - x;
        predicted += end == predicted->end;
        x = end;
      }
    }
  }

  Pair& find(int64_t true_id, int64_t predicted_id) {
    for (size_t slot = first_slot(true_id, predicted_id);; slot = (slot + 1) & (slots_.size() - 1)) {
      if (slots_[slot] == none) {
        return append(slot, true_id, predicted_id);
      }
      Pair& pair = rows_[slots_[slot]];
      if (pair.true_id == true_id && pair.predicted_id == predicted_id) {
        return pair;
      }
    }
  }

  Pair& append(size_t slot, int64_t true_id, int64_t predicted_id) {
    slots_[slot] = static_cast<uint32_t>(rows_.size());
    rows_.push_back({true_id, predicted_id, {}});
    if (2 * rows_.size() > slots_.size()) {
      grow();
    }
    return rows_.back();
  }

  void grow() {
    slots_.assign(4 * slots_.size(), none);
    for (size_t index = 0; index < rows_.size(); ++index) {
      size_t slot = first_slot(rows_[index].true_id, rows_[index].predicted_id);
      while (slots_[slot] != none) {
        slot = (slot + 1) & (slots_.size() - 1);
      }
      slots_[slot] = static_cast<uint32_t>(index);
    }
  }

  // Multiplies by odd constants with irregular bits, so the upper bits depend on all bits of both ids.
  size_t first_slot(int64_t true_id, int64_t predicted_id) const {
    const uint64_t mixed =
        (static_cast<uint64_t>(true_id) * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(predicted_id)) *
        0xd1342543de82ef95u;
    return static_cast<size_t>(mixed >> 32) & (slots_.size() - 1);
  }

  std::vector<Pair> rows_;
  std::vector<uint32_t> slots_;
};

} // namespace seamseg::scoring
