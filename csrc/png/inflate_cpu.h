// Streaming decompression by zlib-ng. Only a window of the output is in memory, so the window stays in the cache.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace seamseg::png {

// zng_stream of zlib-ng.h, version 2.
struct ZlibStream {
  const uint8_t* next_in = nullptr;
  uint32_t avail_in = 0;
  size_t total_in = 0;
  uint8_t* next_out = nullptr;
  uint32_t avail_out = 0;
  size_t total_out = 0;
  const char* message = nullptr;
  void* state = nullptr;
  void* (*allocate)(void*, unsigned, unsigned) = nullptr;
  void (*release)(void*, void*) = nullptr;
  void* opaque = nullptr;
  int data_type = 0;
  uint32_t adler = 0;
  unsigned long reserved = 0;
};

// Functions of zlib-ng. The operator use_zlib_ng sets them to those in the Python package zlib-ng.
struct Zlib {
  int32_t (*inflate_init)(ZlibStream*, int32_t window_bits) = nullptr;
  int32_t (*inflate)(ZlibStream*, int32_t flush) = nullptr;
  int32_t (*inflate_end)(ZlibStream*) = nullptr;
  uint32_t (*crc32)(uint32_t crc, const uint8_t* bytes, uint32_t size) = nullptr;
};

inline Zlib zlib;

// Decompresses DEFLATE data (RFC 1951).
class Inflater {
 public:
  static constexpr size_t slack = 32; // readable bytes after those that take() returns; their values do not matter

  // The input must outlive this object.
  Inflater(const uint8_t* input, uint32_t size) : stream_(new ZlibStream) {
    stream_->next_in = input;
    stream_->avail_in = size;
    if (zlib.inflate_init(stream_.get(), -15) != 0) { // negative: the data has no header
      throw std::runtime_error("zlib-ng cannot allocate memory");
    }
    if (!spare_buffers().empty()) {
      buffer_ = std::move(spare_buffers().back());
      spare_buffers().pop_back();
    }
  }
  Inflater(Inflater&&) = default;
  ~Inflater() {
    if (!buffer_.empty() && buffer_.size() <= most_spare) {
      spare_buffers().push_back(std::move(buffer_));
    }
  }

  // Returns the next `count` bytes, which are valid until the next call. Returns null if the stream ends early or is
  // broken.
  const uint8_t* take(size_t count) {
    if (available_ < count) {
      fill(count);
    }
    if (available_ < count) {
      return nullptr;
    }
    available_ -= count;
    taken_ += count;
    return buffer_.data() + taken_ - count;
  }

 private:
  static constexpr size_t chunk = 1 << 18; // larger ones do not fit into the second-level cache
  static constexpr size_t most_spare = 1 << 20;

  struct End {
    void operator()(ZlibStream* stream) const {
      zlib.inflate_end(stream);
      delete stream;
    }
  };

  // Spare buffers of this thread for the next files. Allocating fresh memory takes longer than decoding a small file.
  static std::vector<std::vector<uint8_t>>& spare_buffers() {
    thread_local std::vector<std::vector<uint8_t>> buffers;
    return buffers;
  }

  // Moves the available bytes to the front of the buffer, and decompresses until the buffer is full.
  void fill(size_t count) {
    if (available_ != 0) {
      std::memmove(buffer_.data(), buffer_.data() + taken_, available_);
    }
    taken_ = 0;
    buffer_.resize(std::max({buffer_.size(), count + slack, chunk + slack}));
    stream_->next_out = buffer_.data() + available_;
    stream_->avail_out = static_cast<uint32_t>(buffer_.size() - slack - available_);
    while (stream_->avail_out != 0 && zlib.inflate(stream_.get(), 0) == 0) {
    }
    available_ = static_cast<size_t>(stream_->next_out - buffer_.data());
  }

  std::unique_ptr<ZlibStream, End> stream_;
  std::vector<uint8_t> buffer_;
  size_t taken_ = 0; // where the available bytes begin
  size_t available_ = 0;
};

} // namespace seamseg::png
