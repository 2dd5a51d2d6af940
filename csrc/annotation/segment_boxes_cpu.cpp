// Tight boxes and areas of the segments of an id map, in one pass over its runs of equal ids.

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <tuple>

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

constexpr int64_t box_size = 4; // y0, x0, y1, x1

[[noreturn]] void report_outsider(int64_t id, int64_t y, int64_t x, int64_t num_segments) {
  std::ostringstream message;
  message << "segment_boxes: the pixel in row " << y << ", column " << x << " has the id " << id << ", but with "
          << num_segments << " segments, ids must be in 0 ... " << num_segments - 1;
  throw std::invalid_argument(message.str());
}

// Extends a segment's box by the pixels x0 ... x1 - 1 of row y. Rows must come from top to bottom.
void add_run(float* box, int64_t& area, int64_t y, int64_t x0, int64_t x1) {
  const auto left = static_cast<float>(x0);
  const auto right = static_cast<float>(x1);
  const bool first = area == 0;
  box[0] = first ? static_cast<float>(y) : box[0];
  box[1] = first ? left : std::min(box[1], left);
  box[2] = static_cast<float>(y + 1);
  box[3] = first ? right : std::max(box[3], right);
  area += x1 - x0;
}

template <typename Id>
void add_runs(const Tensor& map, int64_t num_segments, float* boxes, int64_t* areas) {
  const int64_t height = map.size(0);
  const int64_t width = map.size(1);
  const auto* row = pointer<Id>(map);
  for (int64_t y = 0; y < height; ++y, row += width) {
    for (int64_t x = 0, end = 0; x < width; x = end) {
      const int64_t id = row[x];
      if (id < 0 || id >= num_segments) {
        report_outsider(id, y, x, num_segments);
      }
      end = run_end(row, x, width);
      add_run(boxes + box_size * id, areas[id], y, x, end);
    }
  }
}

std::tuple<Tensor, Tensor> segment_boxes(Tensor ids, int64_t num_segments) {
  const bool wide = ids.scalar_type() == ScalarType::Long;
  check(wide || ids.scalar_type() == ScalarType::Int, "segment_boxes", "ids must be int32 or int64");
  check(ids.dim() == 2, "segment_boxes", "ids must have two dimensions, height and width");
  check(num_segments >= 0, "segment_boxes", "num_segments must not be negative");
  const Tensor map = torch::stable::contiguous(ids);
  Tensor boxes = torch::stable::full({num_segments, box_size}, -1.0, ScalarType::Float);
  Tensor areas = torch::stable::full({num_segments}, 0.0, ScalarType::Long);
  auto* box_data = mutable_pointer<float>(boxes);
  auto* area_data = mutable_pointer<int64_t>(areas);
  if (wide) {
    add_runs<int64_t>(map, num_segments, box_data, area_data);
  } else {
    add_runs<int32_t>(map, num_segments, box_data, area_data);
  }
  return {boxes, areas};
}

} // namespace
} // namespace seamseg::annotation

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("segment_boxes", TORCH_BOX(&seamseg::annotation::segment_boxes));
}
