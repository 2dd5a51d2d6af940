// Greedy non-maximum suppression that stops at the number of boxes to keep.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../check.h"
#include "../tensors.h"

namespace seamseg::boxes {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Box {
  float y0;
  float x0;
  float y1;
  float x1;

  float area() const { return (y1 - y0) * (x1 - x0); }
};

// Kept boxes, one array per side, so that the compiler compares a box with several of them at a time.
class KeptBoxes {
 public:
  explicit KeptBoxes(int64_t max_kept) {
    for (auto* side : {&y0_, &x0_, &y1_, &x1_, &area_}) {
      side->reserve(max_kept + block);
    }
  }

  void add(const Box& box) {
    y0_.push_back(box.y0);
    x0_.push_back(box.x0);
    y1_.push_back(box.y1);
    x1_.push_back(box.x1);
    area_.push_back(box.area());
  }

  bool overlaps(const Box& box, float threshold) const {
    const auto num = static_cast<int64_t>(area_.size());
    for (int64_t first = 0; first < num; first += block) {
      if (overlaps_in(first, std::min(num, first + block), box, threshold)) {
        return true;
      }
    }
    return false;
  }

 private:
  static constexpr int64_t block = 32;

  bool overlaps_in(int64_t first, int64_t end, const Box& box, float threshold) const {
    const float area = box.area();
    int32_t num_overlaps = 0;
    for (int64_t i = first; i < end; ++i) {
      const float height = std::max(0.0f, std::min(y1_[i], box.y1) - std::max(y0_[i], box.y0));
      const float width = std::max(0.0f, std::min(x1_[i], box.x1) - std::max(x0_[i], box.x0));
      const float shared = height * width;
      num_overlaps += shared / (area_[i] + area - shared) > threshold;
    }
    return num_overlaps > 0;
  }

  std::vector<float> y0_, x0_, y1_, x1_, area_;
};

// Returns the largest float32 that is not above a number, so that float32 values compare with both in the same way.
float round_down(double number) {
  const auto nearest = static_cast<float>(number);
  return nearest > number ? std::nextafter(nearest, -std::numeric_limits<float>::infinity()) : nearest;
}

Tensor nms(Tensor boxes, double threshold, int64_t max_kept) {
  check(boxes.scalar_type() == ScalarType::Float, "nms", "boxes must be float32");
  check(boxes.dim() == 2 && boxes.size(1) == 4, "nms", "boxes must have the shape B x 4");
  check(max_kept >= 0, "nms", "max_kept must not be negative");
  const int64_t num = boxes.size(0);
  const Tensor rows = torch::stable::contiguous(boxes);
  const auto* corners = pointer<float>(rows);
  const float highest = round_down(threshold);
  KeptBoxes kept(std::min(num, max_kept));
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < num && static_cast<int64_t>(indices.size()) < max_kept; ++i) {
    const float* row = corners + 4 * i;
    const Box box{row[0], row[1], row[2], row[3]};
    if (!kept.overlaps(box, highest)) {
      kept.add(box);
      indices.push_back(i);
    }
  }
  Tensor result = torch::stable::full({static_cast<int64_t>(indices.size())}, 0.0, ScalarType::Long);
  std::copy(indices.begin(), indices.end(), mutable_pointer<int64_t>(result));
  return result;
}

} // namespace
} // namespace seamseg::boxes

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) { library.impl("nms", TORCH_BOX(&seamseg::boxes::nms)); }
