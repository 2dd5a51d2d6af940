// CPU operators that paste masks into the image and fuse objects with a class map.

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>

#include "../cpu_capability.h"
#include "arguments.h"
#include "kernels_cpu.h"

namespace seamseg::fusion {
namespace {

constexpr int64_t grain = 1 << 15; // minimum number of pixels per thread

MaskKernels mask_kernels() {
#ifdef __x86_64__
  if (cpu_capability() >= Capability::avx512) {
    return avx512::mask_kernels();
  }
  if (cpu_capability() == Capability::avx2) {
    return avx2::mask_kernels();
  }
#endif
  return baseline::mask_kernels();
}

// ---- masks ----------------------------------------------------------------------------------------------------------

// Rows of a mask, upsampled to the width of the window. The mask is padded with a row of zeros on either side.
class WideMask {
 public:
  WideMask(const float* cells, int64_t num, const Place& place) : num_(num), place_(place) {
    std::vector<Tap> columns(place.width);
    for (int64_t x = 0; x < place.width; ++x) {
      columns[x] = cell_tap(place.left + x, place.x0, place.x1, num);
    }
    std::vector<float> line(num + 2);
    rows_.resize((num + 2) * place.width);
    for (int64_t row = 0; row < num; ++row) {
      std::copy_n(cells + row * num, num, line.data() + 1);
      float* wide = rows_.data() + (row + 1) * place.width;
      for (int64_t x = 0; x < place.width; ++x) {
        wide[x] = between(line[columns[x].before], line[columns[x].after], columns[x].fraction);
      }
    }
  }

  // Returns row y of the window.
  MaskRow row(int64_t y) const {
    const Tap tap = cell_tap(place_.top + y, place_.y0, place_.y1, num_);
    return {
        rows_.data() + tap.before * place_.width, rows_.data() + tap.after * place_.width, tap.fraction, place_.width};
  }

  // Calls use(y) for the rows of the window, on all threads.
  template <typename Use>
  void for_rows(const Use& use) const {
    const int64_t rows_of_grain = std::max<int64_t>(1, grain / std::max<int64_t>(1, place_.width));
    torch::stable::parallel_for(0, place_.height, rows_of_grain, [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        use(y);
      }
    });
  }

 private:
  int64_t num_;
  Place place_;
  std::vector<float> rows_;
};

Tensor paste_mask(
    Tensor probabilities, double y0, double x0, double y1, double x1, int64_t top, int64_t left, int64_t height,
    int64_t width) {
  check_masks(probabilities, 2, "paste_mask");
  const Place place{y0, x0, y1, x1, top, left, height, width};
  check_place(place, top + height, left + width, "paste_mask");
  Tensor pixels = torch::stable::new_empty(probabilities, {height, width}, ScalarType::Bool);
  const Tensor cells = torch::stable::contiguous(probabilities);
  const WideMask mask(pointer<float>(cells), cells.size(0), place);
  auto* to = mutable_pointer<bool>(pixels);
  const MaskKernels kernels = mask_kernels();
  mask.for_rows([&](int64_t y) { kernels.paste(mask.row(y), to + y * width); });
  return pixels;
}

// ---- objects --------------------------------------------------------------------------------------------------------

// Owner id of each pixel; 0 means unassigned.
struct Owners {
  int32_t* pixels;
  int64_t width; // of the image

  int32_t* row(const Place& place, int64_t y) const { return pixels + (place.top + y) * width + place.left; }
};

// Assigns the free pixels of a mask to an object. If other objects own too many of the mask's pixels, frees them again.
bool place_object(const WideMask& mask, const Place& place, const Owners& owners, int32_t id, double threshold) {
  static const MaskKernels kernels = mask_kernels();
  std::atomic<int64_t> area{0};
  std::atomic<int64_t> free_area{0};
  mask.for_rows([&](int64_t y) {
    Areas areas;
    kernels.place(mask.row(y), id, owners.row(place, y), areas);
    area += areas.all;
    free_area += areas.free;
  });
  if (!is_dropped(area, free_area, threshold)) {
    return true;
  }
  mask.for_rows([&](int64_t y) {
    int32_t* row = owners.row(place, y);
    std::replace(row, row + place.width, id, 0);
  });
  return false;
}

// ---- remaining pixels -----------------------------------------------------------------------------------------------

using PerClass = std::array<int64_t, num_classes + 1>; // the last entry is for values that are not a class

PerClass free_areas(const int32_t* owners, const int64_t* semantics, int64_t num) {
  PerClass total{};
  std::mutex adding;
  torch::stable::parallel_for(0, num, grain, [&](int64_t begin, int64_t end) {
    // Neighboring pixels mostly have the same class. Alternating between four counters avoids waiting for the last
    // update.
    std::array<std::array<int64_t, num_classes + 2>, 4> counts{};
    for (int64_t i = begin; i < end; ++i) {
      ++counts[i % 4][owners[i] == 0 ? class_place(semantics[i]) : num_classes + 1];
    }
    const std::lock_guard<std::mutex> guard(adding);
    for (const auto& part : counts) {
      for (size_t place = 0; place < total.size(); ++place) {
        total[place] += part[place];
      }
    }
  });
  return total;
}

// Assigns ascending ids from `first` on to the classes that form a segment. Sets the areas of the other classes to 0.
PerClass class_ids(PerClass& areas, int64_t first, double min_area) {
  PerClass ids{};
  for (int64_t klass = 0; klass < num_classes; ++klass) {
    if (is_segment(klass, areas[klass], min_area)) {
      ids[klass] = first++;
    } else {
      areas[klass] = 0;
    }
  }
  return ids;
}

void label(const int32_t* owners, const int64_t* semantics, int64_t num, const PerClass& ids, int64_t* to) {
  torch::stable::parallel_for(0, num, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t rest = ids[class_place(semantics[i])];
      to[i] = owners[i] == 0 ? rest : owners[i];
    }
  });
}

std::tuple<Tensor, Tensor, Tensor> panoptic_fusion(
    Tensor masks, Tensor boxes, Tensor windows, Tensor semantics, double overlap_threshold, double min_area) {
  check_fusion(masks, boxes, windows, semantics);
  const Tensor cells = torch::stable::contiguous(masks);
  const Tensor classes = torch::stable::contiguous(semantics);
  const int64_t num = cells.size(0);
  const int64_t size = cells.size(1);
  Tensor ids = torch::stable::new_empty(classes, {classes.size(0), classes.size(1)});
  Tensor kept = torch::stable::new_zeros(classes, {num}, ScalarType::Bool);
  Tensor areas = torch::stable::new_empty(classes, {num_classes + 1});
  Tensor owners = torch::stable::new_zeros(classes, {classes.size(0), classes.size(1)}, ScalarType::Int);

  int32_t next_id = 1;
  for (int64_t k = 0; k < num; ++k) {
    const Place place = place_of(boxes, windows, k, classes);
    const WideMask mask(pointer<float>(cells) + k * size * size, size, place);
    const Owners map{mutable_pointer<int32_t>(owners), classes.size(1)};
    mutable_pointer<bool>(kept)[k] = place_object(mask, place, map, next_id, overlap_threshold);
    next_id += mutable_pointer<bool>(kept)[k] ? 1 : 0;
  }
  const auto* owner = pointer<int32_t>(owners);
  const auto* klass = pointer<int64_t>(classes);
  PerClass found = free_areas(owner, klass, classes.numel());
  const PerClass rest = class_ids(found, next_id, min_area);
  label(owner, klass, classes.numel(), rest, mutable_pointer<int64_t>(ids));
  std::copy(found.begin(), found.end(), mutable_pointer<int64_t>(areas));
  return {ids, kept, areas};
}

} // namespace
} // namespace seamseg::fusion

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("paste_mask", TORCH_BOX(&seamseg::fusion::paste_mask));
  library.impl("panoptic_fusion", TORCH_BOX(&seamseg::fusion::panoptic_fusion));
}
