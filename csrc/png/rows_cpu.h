// Rows of an id map in a PNG file (ISO/IEC 15948) with 8-bit red, green and blue: id = red + 256 green + 65536 blue.
// Filters are undone run by run. Where a row equals its surroundings, the filtered bytes are 0 and the run continues
// without reading its pixels. No row of pixels is ever built.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../runs.h"
#include "inflate_cpu.h"

namespace seamseg::png {

inline uint64_t load64(const uint8_t* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof word);
  if constexpr (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
    word = __builtin_bswap64(word);
  }
  return word;
}

// The file is broken, or of a kind that other readers must handle.
class NoIdMap : public std::invalid_argument {
 public:
  explicit NoIdMap(const char* reason) : std::invalid_argument(std::string("png_overlaps: ") + reason) {}
};

// Size and compressed rows of a PNG file, collected from its chunks.
class PngFile {
 public:
  PngFile(const uint8_t* bytes, size_t size) {
    static constexpr std::array<uint8_t, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    require(zlib.inflate != nullptr, "the operator use_zlib_ng must run first");
    require(
        size >= signature.size() && std::memcmp(bytes, signature.data(), signature.size()) == 0,
        "the file is not a PNG");
    const uint8_t* const end = bytes + size;
    const uint8_t* chunk = bytes + signature.size();
    for (bool last = false; !last;) {
      require(end - chunk >= 12, "the file ends too early");
      const size_t length = number(chunk);
      require(length <= static_cast<size_t>(end - chunk) - 12, "the file ends too early");
      last = read_chunk(chunk, length);
      chunk += 12 + length;
    }
    // The first two bytes are the zlib header. The checksum after the stream is ignored, since every chunk has one.
    require(height > 0 && compressed.size() >= 2 && (compressed[0] & 0x0f) == 8, "the file has no rows");
    require(
        (compressed[0] << 8 | compressed[1]) % 31 == 0 && (compressed[1] & 0x20) == 0,
        "the compressed stream is broken");
    require(compressed.size() <= UINT32_MAX, "the file is too large");
    stream_size = static_cast<uint32_t>(compressed.size() - 2);
  }

  const uint8_t* stream() const { return compressed.data() + 2; }

  int64_t width = 0;
  int64_t height = 0;
  uint32_t stream_size = 0;

 private:
  static constexpr int64_t longest_side = 1 << 20;

  static void require(bool holds, const char* otherwise) {
    if (!holds) {
      throw NoIdMap(otherwise);
    }
  }

  static uint32_t number(const uint8_t* bytes) {
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
  }

  // Returns true for the last chunk.
  bool read_chunk(const uint8_t* chunk, size_t length) {
    const uint8_t* const name = chunk + 4;
    const uint8_t* const data = chunk + 8;
    const bool header = std::memcmp(name, "IHDR", 4) == 0;
    const bool rows = std::memcmp(name, "IDAT", 4) == 0;
    require(std::memcmp(name, "tRNS", 4) != 0, "the image has transparency");
    require(
        rows || header || (name[0] & 0x20) != 0 || std::memcmp(name, "IEND", 4) == 0 ||
            std::memcmp(name, "PLTE", 4) == 0,
        "the file has critical chunks of an unknown kind");
    if (header || rows) {
      const uint32_t checksum = zlib.crc32(0, name, static_cast<uint32_t>(length + 4));
      require(checksum == number(data + length), "a chunk has a wrong checksum");
    }
    if (header) {
      require(height == 0 && length == 13, "the header is broken");
      width = number(data);
      height = number(data + 4);
      require(width > 0 && height > 0 && width <= longest_side && height <= longest_side, "the image size is invalid");
      static constexpr std::array<uint8_t, 5> plain{8, 2, 0, 0, 0}; // bits, color, compression, filters, interlacing
      require(std::memcmp(data + 8, plain.data(), plain.size()) == 0, "the pixels are not plain 8-bit RGB");
    } else if (rows) {
      require(height != 0, "the header is missing");
      compressed.insert(compressed.end(), data, data + length);
    }
    return std::memcmp(name, "IEND", 4) == 0;
  }

  std::vector<uint8_t> compressed;
};

class PngRows {
 public:
  explicit PngRows(PngFile file)
      : file_(std::move(file)),
        stream_(file_.stream(), file_.stream_size),
        above_{{0, static_cast<int32_t>(file_.width)}},
        width_(file_.width) {}

  int64_t height() const { return file_.height; }
  int64_t width() const { return width_; }

  // Returns the next row, from top to bottom. The row is valid until the next call.
  const Runs& next() {
    const uint8_t* bytes = stream_.take(static_cast<size_t>(1 + 3 * width_));
    if (bytes == nullptr) {
      throw NoIdMap("the rows are broken");
    }
    runs_.clear();
    row_ = bytes + 1;
    zeros_end_ = 0;
    switch (bytes[0]) {
      case 0: read_plain(); break;
      case 1: read_row<Left>(); break;
      case 2: read_row<Above>(); break;
      case 3: read_row<Mean>(); break;
      case 4: read_row<Paeth>(); break;
      default: throw NoIdMap("a row has an unknown filter type");
    }
    runs_.swap(above_);
    return above_;
  }

 private:
  // Predictors of the PNG filters. A predictor is added to the bytes of a pixel and depends on the pixels to the left,
  // above, and above left. All three channels are handled at once in the low 24 bits.
  struct Left {
    static uint32_t predict(uint32_t left, uint32_t, uint32_t) { return left; }
    // Whether a pixel of zeros equals its left neighbor, given that the pixel above equals its own left neighbor.
    static bool goes_on(uint32_t, uint32_t) { return true; }
  };
  struct Above {
    static uint32_t predict(uint32_t, uint32_t above, uint32_t) { return above; }
    static bool goes_on(uint32_t left, uint32_t above) { return left == above; }
  };
  struct Mean {
    static uint32_t predict(uint32_t left, uint32_t above, uint32_t) {
      return (left & above) + ((left ^ above) >> 1 & 0x7f7f7f);
    }
    static bool goes_on(uint32_t left, uint32_t above) { return left == above; }
  };
  struct Paeth {
    static uint32_t predict(uint32_t left, uint32_t above, uint32_t corner) {
      if (above == corner) {
        return left;
      }
      if (left == corner) {
        return above;
      }
      uint32_t result = 0;
      for (int shift = 0; shift < 24; shift += 8) {
        const int a = left >> shift & 0xff;
        const int b = above >> shift & 0xff;
        const int c = corner >> shift & 0xff;
        const int from_left = std::abs(b - c);
        const int from_above = std::abs(a - c);
        const int from_corner = std::abs(a + b - 2 * c);
        const int nearest = from_left <= from_above && from_left <= from_corner ? a : from_above <= from_corner ? b : c;
        result |= static_cast<uint32_t>(nearest) << shift;
      }
      return result;
    }
    static bool goes_on(uint32_t, uint32_t) { return true; } // above == corner, so the prediction is the left pixel
  };

  static uint32_t add(uint32_t one, uint32_t other) { // per byte, without carry
    return ((one & 0x7f7f7f) + (other & 0x7f7f7f)) ^ ((one ^ other) & 0x808080);
  }

  uint32_t pixel(int64_t x) const { // the stream leaves readable bytes after each row
    return static_cast<uint32_t>(load64(row_ + 3 * x) & 0xffffff);
  }

  template <typename Filter>
  void read_row() {
    const Run* above = above_.data();
    uint32_t left = 0;
    uint32_t corner = 0;
    for (int64_t x = 0; x < width_;) {
      const auto up = static_cast<uint32_t>(above->id);
      left = add(pixel(x), Filter::predict(left, up, corner));
      corner = up;
      ++x;
      if (x < above->end && Filter::goes_on(left, up)) {
        x = std::max(x, std::min<int64_t>(above->end, zeros_end(x)));
      }
      extend(runs_, x, left);
      if (x == above->end) {
        ++above;
      }
    }
  }

  void read_plain() {
    for (int64_t x = 0; x < width_;) {
      const uint32_t id = pixel(x);
      x = repeated_end(x + 1);
      extend(runs_, x, id);
    }
  }

  // Returns the first pixel from x on that has a nonzero byte, or the width.
  int64_t zeros_end(int64_t x) {
    if (x < zeros_end_) {
      return zeros_end_;
    }
    const int64_t size = 3 * width_;
    int64_t byte = 3 * x;
    while (byte + 32 <= size &&
           (load64(row_ + byte) | load64(row_ + byte + 8) | load64(row_ + byte + 16) | load64(row_ + byte + 24)) == 0) {
      byte += 32;
    }
    for (; byte < size; byte += 8) {
      const uint64_t word = load64(row_ + byte);
      if (word != 0) {
        byte += __builtin_ctzll(word) / 8;
        break;
      }
    }
    zeros_end_ = std::min(byte / 3, width_);
    return zeros_end_;
  }

  // Returns the first pixel from x on that differs from its left neighbor, or the width.
  int64_t repeated_end(int64_t x) const {
    const int64_t size = 3 * width_;
    int64_t byte = 3 * x;
    for (; byte < size; byte += 8) {
      const uint64_t difference = load64(row_ + byte) ^ load64(row_ + byte - 3);
      if (difference != 0) {
        byte += __builtin_ctzll(difference) / 8;
        break;
      }
    }
    return std::min(byte / 3, width_);
  }

  PngFile file_;
  Inflater stream_;
  Runs above_; // the previous row; black above the first
  Runs runs_;
  int64_t width_;
  const uint8_t* row_ = nullptr;
  int64_t zeros_end_ = 0;
};

} // namespace seamseg::png
