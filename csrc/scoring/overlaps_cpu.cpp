// Overlaps between the segments of two id maps: a table of all pairs that share pixels, from one pass over the runs of
// both maps.

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../check.h"
#include "../png/rows_cpu.h"
#include "../runs.h"
#include "../tensors.h"
#include "borders_cpu.h"
#include "pairs_cpu.h"

namespace seamseg::scoring {
namespace {

using png::PngFile;
using png::PngRows;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t num_columns = 6;

Tensor to_tensor(const Pairs& pairs) {
  const auto& rows = pairs.rows();
  Tensor table = torch::stable::full({static_cast<int64_t>(rows.size()), num_columns}, 0.0, ScalarType::Long);
  auto* column = mutable_pointer<int64_t>(table);
  for (const Pair& pair : rows) {
    const auto& [neither, predicted_border, true_border, both] = pair.pixels;
    *column++ = pair.true_id;
    *column++ = pair.predicted_id;
    *column++ = neither + predicted_border + true_border + both;
    *column++ = true_border + both;
    *column++ = predicted_border + both;
    *column++ = both;
  }
  return table;
}

template <typename TrueRows, typename PredictedRows>
Tensor count(TrueRows true_rows, PredictedRows predicted_rows, int64_t band) {
  Pairs pairs;
  if (band == 0) {
    pairs.add(true_rows, predicted_rows);
  } else {
    const auto pixels = static_cast<int32_t>(std::min(band, std::max(true_rows.height(), true_rows.width())));
    BorderedRows true_bordered(std::move(true_rows), pixels);
    BorderedRows predicted_bordered(std::move(predicted_rows), pixels);
    pairs.add(true_bordered, predicted_bordered);
  }
  return to_tensor(pairs);
}

// Calls `work` with the rows of a map.
template <typename Work>
Tensor with_rows(const Tensor& map, Work work) {
  const int64_t height = map.size(0);
  const int64_t width = map.size(1);
  switch (map.scalar_type()) {
    case ScalarType::Long: return work(MapRows(pointer<int64_t>(map), height, width));
    case ScalarType::Int: return work(MapRows(pointer<int32_t>(map), height, width));
    case ScalarType::Short: return work(MapRows(pointer<int16_t>(map), height, width));
    case ScalarType::Byte: return work(MapRows(pointer<uint8_t>(map), height, width));
    default: throw std::invalid_argument("map_overlaps: ids must be int64, int32, int16 or uint8");
  }
}

Tensor map_overlaps(Tensor true_ids, Tensor predicted_ids, int64_t band) {
  check(
      true_ids.dim() == 2 && predicted_ids.dim() == 2, "map_overlaps",
      "id maps must have two dimensions, height and width");
  check(
      true_ids.size(0) == predicted_ids.size(0) && true_ids.size(1) == predicted_ids.size(1), "map_overlaps",
      "both id maps must have the same size");
  check(
      true_ids.size(0) <= INT32_MAX / 4 && true_ids.size(1) <= INT32_MAX / 4, "map_overlaps", "the maps are too large");
  check(band >= 0, "map_overlaps", "band must not be negative");
  const Tensor true_map = torch::stable::contiguous(true_ids);
  const Tensor predicted_map = torch::stable::contiguous(predicted_ids);
  return with_rows(true_map, [&](auto true_rows) {
    return with_rows(predicted_map, [&](auto predicted_rows) { return count(true_rows, predicted_rows, band); });
  });
}

PngRows open(const Tensor& bytes) {
  check(
      bytes.scalar_type() == ScalarType::Byte && bytes.dim() == 1 && bytes.is_contiguous(), "png_overlaps",
      "files must be one-dimensional, contiguous uint8 tensors");
  return PngRows(PngFile(pointer<uint8_t>(bytes), static_cast<size_t>(bytes.size(0))));
}

Tensor png_overlaps(Tensor true_png, Tensor predicted_png, int64_t band) {
  check(band >= 0, "png_overlaps", "band must not be negative");
  PngRows true_rows = open(true_png);
  PngRows predicted_rows = open(predicted_png);
  check(
      true_rows.height() == predicted_rows.height() && true_rows.width() == predicted_rows.width(), "png_overlaps",
      "both id maps must have the same size");
  return count(std::move(true_rows), std::move(predicted_rows), band);
}

} // namespace
} // namespace seamseg::scoring

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("map_overlaps", TORCH_BOX(&seamseg::scoring::map_overlaps));
  library.impl("png_overlaps", TORCH_BOX(&seamseg::scoring::png_overlaps));
}
