// CPU operators that sample features of regions from the levels of a pyramid, and their gradient. The kernels are in
// kernels_cpu.inl.

#include <algorithm>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/util/BFloat16.h>

#include "../cpu_capability.h"
#include "arguments.h"
#include "kernels_cpu.h"

namespace seamseg::roi_align {
namespace {

using torch::headeronly::BFloat16;

template <typename T>
Kernels<T> kernels() {
#ifdef __x86_64__
  if (cpu_capability() >= Capability::avx512) {
    return avx512::kernels<T>();
  }
  if (cpu_capability() == Capability::avx2) {
    return avx2::kernels<T>();
  }
#endif
  return baseline::kernels<T>();
}

// ---- positions ------------------------------------------------------------------------------------------------------

// Appends the taps at the centers of equal bins.
void append_taps(std::vector<Tap>& taps, float low, float high, int64_t bins, int64_t num) {
  for (int64_t bin = 0; bin < bins; ++bin) {
    taps.push_back(bin_tap(low, high, bin, bins, num));
  }
}

// Images, levels and grids of all regions.
class Regions {
 public:
  Regions(
      const Tensor& boxes, const Tensor& image_index, const Tensor& level_index, int64_t num_images,
      const std::vector<Extents>& levels, int64_t output_size, const char* op)
      : boxes_(torch::stable::contiguous(boxes)),
        images_(torch::stable::contiguous(image_index)),
        levels_(torch::stable::contiguous(level_index)),
        size_(output_size) {
    taps_.reserve(2 * num() * size_);
    for (int64_t region = 0; region < num(); ++region) {
      check(image(region) >= 0 && image(region) < num_images, op, "there is no image with the index of a region");
      check(
          level(region) >= 0 && level(region) < static_cast<int64_t>(levels.size()), op,
          "there is no level with the index of a region");
      const Extents& extents = levels[level(region)];
      check(extents.height > 0 && extents.width > 0, op, "the level of a region has no pixels");
      const auto* box = pointer<float>(boxes_) + 4 * region;
      append_taps(taps_, box[0], box[2], size_, extents.height);
      append_taps(taps_, box[1], box[3], size_, extents.width);
    }
  }

  int64_t num() const { return boxes_.size(0); }
  int64_t image(int64_t region) const { return pointer<int64_t>(images_)[region]; }
  int64_t level(int64_t region) const { return pointer<int64_t>(levels_)[region]; }
  Grid grid(int64_t region) const {
    const Tap* rows = taps_.data() + 2 * region * size_;
    return {rows, rows + size_, size_};
  }

 private:
  Tensor boxes_, images_, levels_;
  int64_t size_;
  std::vector<Tap> taps_;
};

// Levels with pixels of type N, in one of the two layouts.
template <typename N>
struct Pyramid {
  std::vector<N*> values;
  std::vector<Extents> extents;
  bool channels_last;

  N* at(int64_t level, int64_t image, int64_t channel) const {
    const auto [height, width, channels] = extents[level];
    return values[level] + image * channels * height * width + channel * (channels_last ? 1 : height * width);
  }
};

int64_t max_width(const std::vector<Extents>& levels) {
  int64_t width = 0;
  for (const Extents& level : levels) {
    width = std::max(width, level.width);
  }
  return width;
}

// Channels that are sampled together. In the contiguous layout, their planes should stay in the cache while all regions
// of an image are sampled.
constexpr int64_t planes_at_once = 4;
constexpr int64_t pixel_channels_at_once = 64;
constexpr int64_t cache_line_channels = 16;
constexpr int64_t grain = 1 << 15; // minimum number of samples per thread

int64_t quotient_up(int64_t number, int64_t divisor) { return (number + divisor - 1) / divisor; }

// ---- forward --------------------------------------------------------------------------------------------------------

template <typename T>
void sample(const Pyramid<const T>& levels, const Regions& regions, int64_t channels, int64_t size, T* features) {
  const Kernels<T> use = kernels<T>();
  const int64_t block = levels.channels_last ? pixel_channels_at_once : planes_at_once;
  const int64_t samples_of_item = std::min(block, channels) * size * size;
  const int64_t items = quotient_up(channels, block) * regions.num();
  torch::stable::parallel_for(
      0, items, quotient_up(grain, samples_of_item), [&](int64_t begin, int64_t end) {
        std::vector<float> scratch(scratch_size(max_width(levels.extents)));
        for (int64_t item = begin; item < end; ++item) {
          const int64_t region = item % regions.num();
          const int64_t channel = item / regions.num() * block;
          const int64_t num = std::min(block, channels - channel);
          const int64_t level = regions.level(region);
          const T* from = levels.at(level, regions.image(region), channel);
          T* to = features + region * channels * size * size + channel * (levels.channels_last ? 1 : size * size);
          if (levels.channels_last) {
            use.sample_pixels(from, levels.extents[level], regions.grid(region), num, to);
          } else {
            use.sample_planes(from, levels.extents[level], regions.grid(region), num, to, scratch.data());
          }
        }
      });
}

template <typename T>
Tensor sample_levels(
    const std::vector<Tensor>& levels, const Tensor& boxes, const Tensor& image_index, const Tensor& level_index,
    int64_t size, const char* op) {
  Pyramid<const T> pyramid{{}, {}, is_channels_last(levels[0])};
  std::vector<Tensor> kept;
  for (const Tensor& level : levels) {
    kept.push_back(in_layout(level, pyramid.channels_last));
    pyramid.values.push_back(pointer<T>(kept.back()));
    pyramid.extents.push_back({level.size(2), level.size(3), level.size(1)});
  }
  const Regions regions(boxes, image_index, level_index, levels[0].size(0), pyramid.extents, size, op);
  const int64_t channels = levels[0].size(1);
  Tensor features = empty_like(
      levels[0], levels[0].scalar_type(), {regions.num(), channels, size, size}, pyramid.channels_last);
  if (features.numel() > 0) {
    sample<T>(pyramid, regions, channels, size, mutable_pointer<T>(features));
  }
  return features;
}

Tensor multilevel_roi_align(
    std::vector<Tensor> levels, Tensor boxes, Tensor image_index, Tensor level_index, int64_t output_size) {
  constexpr auto* op = "multilevel_roi_align";
  check_sampling(levels, boxes, image_index, level_index, output_size);
  return levels[0].scalar_type() == ScalarType::Float
      ? sample_levels<float>(levels, boxes, image_index, level_index, output_size, op)
      : sample_levels<BFloat16>(levels, boxes, image_index, level_index, output_size, op);
}

// ---- backward -------------------------------------------------------------------------------------------------------

// Every thread adds up some channels of some images, over all regions in their order. Therefore the result does not
// depend on the number of threads.
template <typename T>
void spread(const T* gradient, const Regions& regions, int64_t images, int64_t size, const Pyramid<float>& levels) {
  const Kernels<T> use = kernels<T>();
  const int64_t channels = levels.extents[0].channels;
  int64_t block = planes_at_once;
  if (levels.channels_last) {
    const int64_t parts = quotient_up(torch::stable::get_num_threads(), images);
    block = quotient_up(quotient_up(channels, parts), cache_line_channels) * cache_line_channels;
    block = std::min(block, pixel_channels_at_once);
  }
  const int64_t blocks = quotient_up(channels, block);
  torch::stable::parallel_for(0, images * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(scratch_size(max_width(levels.extents)));
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / blocks;
      const int64_t channel = item % blocks * block;
      const int64_t num = std::min(block, channels - channel);
      for (int64_t region = 0; region < regions.num(); ++region) {
        if (regions.image(region) != image) {
          continue;
        }
        const int64_t level = regions.level(region);
        float* to = levels.at(level, image, channel);
        const T* from = gradient + region * channels * size * size + channel * (levels.channels_last ? 1 : size * size);
        if (levels.channels_last) {
          use.spread_pixels(from, levels.extents[level], regions.grid(region), num, to);
        } else {
          use.spread_planes(from, levels.extents[level], regions.grid(region), num, to, scratch.data());
        }
      }
    }
  });
}

template <typename T>
std::vector<Tensor> spread_gradient(
    const Tensor& gradient, const Tensor& boxes, const Tensor& image_index, const Tensor& level_index, int64_t images,
    const std::vector<int64_t>& heights, const std::vector<int64_t>& widths, bool channels_last, const char* op) {
  std::vector<Tensor> gradients = zeros_of_levels(gradient, images, heights, widths, channels_last);
  Pyramid<float> pyramid{{}, {}, channels_last};
  for (const Tensor& level : gradients) {
    pyramid.values.push_back(mutable_pointer<float>(level));
    pyramid.extents.push_back({level.size(2), level.size(3), level.size(1)});
  }
  const Regions regions(boxes, image_index, level_index, images, pyramid.extents, gradient.size(2), op);
  if (gradient.numel() > 0) {
    const Tensor rows = in_layout(gradient, channels_last);
    spread<T>(pointer<T>(rows), regions, images, gradient.size(2), pyramid);
  }
  return gradients;
}

std::vector<Tensor> multilevel_roi_align_gradient(
    Tensor gradient, Tensor boxes, Tensor image_index, Tensor level_index, int64_t num_images,
    std::vector<int64_t> heights, std::vector<int64_t> widths, bool channels_last) {
  constexpr auto* op = "multilevel_roi_align_gradient";
  check_gradient(gradient, boxes, image_index, level_index, num_images, heights, widths);
  return gradient.scalar_type() == ScalarType::Float
      ? spread_gradient<float>(
            gradient, boxes, image_index, level_index, num_images, heights, widths, channels_last, op)
      : spread_gradient<BFloat16>(
            gradient, boxes, image_index, level_index, num_images, heights, widths, channels_last, op);
}

} // namespace
} // namespace seamseg::roi_align

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("multilevel_roi_align", TORCH_BOX(&seamseg::roi_align::multilevel_roi_align));
  library.impl("multilevel_roi_align_gradient", TORCH_BOX(&seamseg::roi_align::multilevel_roi_align_gradient));
}
