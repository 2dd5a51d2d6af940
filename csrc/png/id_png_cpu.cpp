// Operators that read the ids of a PNG file of segments without decoding an RGB image first, and that set the functions
// that decompress it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../check.h"
#include "../tensors.h"
#include "rows_cpu.h"

namespace seamseg::png {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t most_pixels = int64_t{1} << 30; // OpenCV's default limit

Tensor read_id_png(Tensor bytes) {
  check(
      bytes.scalar_type() == ScalarType::Byte && bytes.dim() == 1 && bytes.is_contiguous(), "read_id_png",
      "the file must be a one-dimensional, contiguous uint8 tensor");
  PngRows rows(PngFile(pointer<uint8_t>(bytes), static_cast<size_t>(bytes.size(0))));
  const int64_t height = rows.height();
  const int64_t width = rows.width();
  check(height <= most_pixels / width, "read_id_png", "the image has too many pixels");
  Tensor ids = torch::stable::empty({height, width}, ScalarType::Int);
  auto* out = mutable_pointer<int32_t>(ids);
  for (int64_t y = 0; y < height; ++y, out += width) {
    int32_t x = 0;
    for (const auto& run : rows.next()) {
      std::fill(out + x, out + run.end, static_cast<int32_t>(run.id));
      x = run.end;
    }
  }
  return ids;
}

void use_zlib_ng(int64_t inflate_init, int64_t inflate, int64_t inflate_end, int64_t crc32) {
  zlib.inflate_init = reinterpret_cast<decltype(zlib.inflate_init)>(inflate_init);
  zlib.inflate = reinterpret_cast<decltype(zlib.inflate)>(inflate);
  zlib.inflate_end = reinterpret_cast<decltype(zlib.inflate_end)>(inflate_end);
  zlib.crc32 = reinterpret_cast<decltype(zlib.crc32)>(crc32);
}

} // namespace
} // namespace seamseg::png

STABLE_TORCH_LIBRARY_IMPL(seamseg, CPU, library) {
  library.impl("read_id_png", TORCH_BOX(&seamseg::png::read_id_png));
}

STABLE_TORCH_LIBRARY_IMPL(seamseg, CompositeExplicitAutograd, library) {
  library.impl("use_zlib_ng", TORCH_BOX(&seamseg::png::use_zlib_ng));
}
