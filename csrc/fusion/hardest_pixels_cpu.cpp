// CPU operator that chooses the pixels with the largest losses of an image.

#include <array>
#include <cstring>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "arguments.h"

namespace seamseg::fusion {
namespace {

// Returns bits that compare like the numbers; NaN is larger than all of them.
inline uint32_t rank_of(float value) {
  if (value != value) {
    return ~uint32_t{0};
  }
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits >> 31) != 0 ? ~bits : bits | uint32_t{1} << 31;
}

// A rank, and how many of the numbers that have it are among the largest ones.
struct Limit {
  uint32_t rank;
  int64_t num;
};

// Finds the smallest of the `num` largest numbers. Each pass counts the numbers that share the bits found before by
// their next bits.
Limit limit_of(const float* values, int64_t size, int64_t num) {
  Limit limit{0, num};
  uint32_t known = 0;
  for (const int shift : {21, 10, 0}) {
    const uint32_t mask = shift == 21 ? 0x7ff : (shift == 10 ? 0x7ff : 0x3ff);
    std::array<int64_t, 1 << 11> counts{};
    for (int64_t i = 0; i < size; ++i) {
      const uint32_t rank = rank_of(values[i]);
      if ((rank & known) == limit.rank) {
        ++counts[rank >> shift & mask];
      }
    }
    uint32_t digit = mask;
    for (; counts[digit] < limit.num; --digit) {
      limit.num -= counts[digit];
    }
    limit.rank |= digit << shift;
    known |= mask << shift;
  }
  return limit;
}

std::tuple<Tensor, Tensor> hardest_pixels(Tensor losses, Tensor target, int64_t num) {
  constexpr auto* op = "hardest_pixels";
  check(
      losses.dim() == 2 && target.dim() == 2 && losses.size(0) == target.size(0) && losses.size(1) == target.size(1),
      op, "losses and classes must have the same height and width");
  check(
      losses.scalar_type() == ScalarType::Float && target.scalar_type() == ScalarType::Long, op,
      "the losses must be float32 and the classes int64");
  check(num > 0 && num <= losses.numel(), op, "the number of pixels must be positive and at most that of the image");
  const Tensor values = torch::stable::contiguous(losses), known = torch::stable::contiguous(target);
  Tensor mean = torch::stable::new_empty(losses, {}, ScalarType::Float);
  Tensor chosen = torch::stable::new_empty(losses, {losses.size(0), losses.size(1)}, ScalarType::Byte);
  const auto* loss = pointer<float>(values);
  const auto* klass = pointer<int64_t>(known);
  auto* to = mutable_pointer<uint8_t>(chosen);
  Limit limit = limit_of(loss, values.numel(), num);
  double sum = 0;
  for (int64_t i = 0; i < values.numel(); ++i) {
    const uint32_t rank = rank_of(loss[i]);
    const bool is_tie = rank == limit.rank && limit.num > 0;
    limit.num -= is_tie ? 1 : 0;
    const bool is_chosen = rank > limit.rank || is_tie;
    sum += is_chosen ? loss[i] : 0;
    to[i] = static_cast<uint8_t>(is_chosen ? klass[i] : void_class);
  }
  *mutable_pointer<float>(mean) = static_cast<float>(sum / static_cast<double>(num));
  return {mean, chosen};
}

} // namespace
} // namespace seamseg::fusion

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("hardest_pixels", TORCH_BOX(&seamseg::fusion::hardest_pixels));
}
