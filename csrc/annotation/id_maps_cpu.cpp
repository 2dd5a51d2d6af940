// Operators that look up, resample, crop and mirror id maps.

#include <algorithm>
#include <cstdint>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../check.h"
#include "../runs.h"
#include "../tensors.h"

namespace seamseg::annotation {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check_positions(const int64_t* positions, int64_t num, int64_t size) {
  for (int64_t i = 0; i < num; ++i) {
    check(positions[i] >= 0 && positions[i] < size, "index_grid", "a row or column is outside of the id map");
  }
}

// Looks up each run once.
Tensor lookup_ids(Tensor ids, Tensor known) {
  check(ids.scalar_type() == ScalarType::Int && ids.dim() == 2, "lookup_ids", "ids must be H x W int32");
  check(known.scalar_type() == ScalarType::Int && known.dim() == 1, "lookup_ids", "known must be K int32");
  const Tensor map = torch::stable::contiguous(ids);
  const Tensor list = torch::stable::contiguous(known);
  const auto* first = pointer<int32_t>(list);
  const auto* last = first + list.numel();
  check(std::is_sorted(first, last), "lookup_ids", "known must be in ascending order");
  Tensor found = torch::stable::new_empty(map, {map.size(0), map.size(1)});
  const auto* row = pointer<int32_t>(map);
  auto* out = mutable_pointer<int32_t>(found);
  const int64_t width = map.size(1);
  for (int64_t y = 0; y < map.size(0); ++y, row += width, out += width) {
    for (int64_t x = 0, end = 0; x < width; x = end) {
      const auto* place = std::lower_bound(first, last, row[x]);
      const bool here = place != last && *place == row[x];
      end = run_end(row, x, width);
      std::fill(out + x, out + end, here ? static_cast<int32_t>(place - first) : -1);
    }
  }
  return found;
}

Tensor index_grid(Tensor ids, Tensor rows, Tensor columns) {
  check(ids.scalar_type() == ScalarType::Int && ids.dim() == 2, "index_grid", "ids must be H x W int32");
  for (const Tensor* positions : {&rows, &columns}) {
    check(
        positions->scalar_type() == ScalarType::Long && positions->dim() == 1, "index_grid",
        "rows and columns must be one-dimensional int64");
  }
  const Tensor map = torch::stable::contiguous(ids);
  const Tensor down = torch::stable::contiguous(rows);
  const Tensor along = torch::stable::contiguous(columns);
  const auto* ys = pointer<int64_t>(down);
  const auto* xs = pointer<int64_t>(along);
  const int64_t height = down.numel();
  const int64_t width = along.numel();
  check_positions(ys, height, map.size(0));
  check_positions(xs, width, map.size(1));
  Tensor taken = torch::stable::new_empty(map, {height, width});
  auto* out = mutable_pointer<int32_t>(taken);
  for (int64_t y = 0; y < height; ++y, out += width) {
    if (y > 0 && ys[y] == ys[y - 1]) {
      std::copy(out - width, out, out);
      continue;
    }
    const auto* row = pointer<int32_t>(map) + ys[y] * map.size(1);
    for (int64_t x = 0; x < width; ++x) {
      out[x] = row[xs[x]];
    }
  }
  return taken;
}

} // namespace
} // namespace seamseg::annotation

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("lookup_ids", TORCH_BOX(&seamseg::annotation::lookup_ids));
  library.impl("index_grid", TORCH_BOX(&seamseg::annotation::index_grid));
}
