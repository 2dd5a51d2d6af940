// Streaming decoder for DEFLATE (RFC 1951). It keeps only a window of the output in memory, so the window stays in the
// cache. It is optimized for id maps, which consist of long runs of the same few values.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "prefix_code_cpu.h"

namespace seamseg::scoring {

inline uint64_t load64(const uint8_t* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof word);
  if constexpr (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
    word = __builtin_bswap64(word);
  }
  return word;
}

class Inflater {
 public:
  static constexpr size_t padding = 64; // readable bytes required after the input; their values do not matter

  // The input must outlive this object.
  Inflater(const uint8_t* input, size_t size) : in_(input), end_(input + size) {
    if (!spare_buffers().empty()) {
      buffer_ = std::move(spare_buffers().back());
      spare_buffers().pop_back();
      taken_ = out_ = buffer_.data();
    }
  }
  Inflater(const Inflater&) = delete; // its pointers point into its buffer, which only a move keeps
  Inflater(Inflater&&) = default;
  ~Inflater() {
    if (!buffer_.empty() && buffer_.size() <= most_spare) {
      spare_buffers().push_back(std::move(buffer_));
    }
  }

  // Returns the next `count` bytes, followed by `slack` readable bytes. They are valid until the next call. Returns
  // null if the stream ends early or is broken.
  const uint8_t* take(size_t count) {
    if (static_cast<size_t>(out_ - taken_) < count && !fill(count)) {
      return nullptr;
    }
    const uint8_t* bytes = taken_;
    taken_ += count;
    return bytes;
  }

 private:
  static constexpr size_t history = 32768; // maximum distance of a match
  static constexpr size_t chunk = 1 << 17;
  static constexpr size_t most_spare = 1 << 20;
  static constexpr size_t slack = 320; // the longest match, plus the bytes that copying in steps of 16 writes past it

  // Spare buffers of this thread for the next files. Allocating fresh memory takes longer than decoding a small file.
  static std::vector<std::vector<uint8_t>>& spare_buffers() {
    thread_local std::vector<std::vector<uint8_t>> buffers;
    return buffers;
  }

  enum class State { between_blocks, in_codes, in_stored, done, broken };

  bool fill(size_t count) {
    make_room(count);
    const uint8_t* wanted = taken_ + count;
    while (out_ < wanted && state_ != State::done && state_ != State::broken) {
      switch (state_) {
        case State::between_blocks: open_block(); break;
        case State::in_codes: decode(limit_); break;
        default: copy_stored(); break;
      }
    }
    return out_ >= wanted;
  }

  // Moves the bytes that are still needed to the front of the buffer, so at least `count` more bytes fit.
  void make_room(size_t count) {
    const size_t used = static_cast<size_t>(out_ - buffer_.data());
    const size_t kept = std::max(std::min(used, history), static_cast<size_t>(out_ - taken_));
    const size_t pending = static_cast<size_t>(out_ - taken_);
    const size_t wanted = history + std::max(count, chunk) + chunk + slack;
    if (buffer_.size() < wanted) {
      std::vector<uint8_t> larger(wanted);
      if (kept != 0) {
        std::memcpy(larger.data(), out_ - kept, kept);
      }
      buffer_.swap(larger);
    } else if (kept != 0) {
      std::memmove(buffer_.data(), out_ - kept, kept);
    }
    out_ = buffer_.data() + kept;
    taken_ = out_ - pending;
    limit_ = buffer_.data() + buffer_.size() - slack;
  }

  void refill() {
    bits_ |= load64(in_) << num_bits_;
    in_ += (63 - num_bits_) >> 3;
    num_bits_ |= 56;
  }

  // Whether more bits were read than the input has. Up to 8 bytes may be read ahead.
  bool overrun() const { return in_ > end_ + 8 || in_ - (num_bits_ >> 3) > end_; }

  uint32_t read(unsigned count) {
    const auto value = static_cast<uint32_t>(bits_ & ((uint64_t{1} << count) - 1));
    skip(count);
    return value;
  }

  void skip(unsigned count) {
    bits_ >>= count;
    num_bits_ -= count;
  }

  void open_block() {
    if (last_) {
      state_ = State::done;
      return;
    }
    state_ = State::broken;
    refill();
    last_ = read(1) != 0;
    const uint32_t kind = read(2);
    const bool opened = kind == 0 ? open_stored() : kind == 1 ? open_fixed() : kind == 2 && open_dynamic();
    if (opened && !overrun()) {
      state_ = kind == 0 ? State::in_stored : State::in_codes;
    }
  }

  bool open_stored() {
    skip(num_bits_ & 7);
    const uint8_t* from = in_ - (num_bits_ >> 3);
    bits_ = 0;
    num_bits_ = 0;
    if (from > end_ || end_ - from < 4) {
      return false;
    }
    stored_ = from[0] | from[1] << 8;
    in_ = from + 4;
    return (stored_ ^ 0xffff) == static_cast<uint32_t>(from[2] | from[3] << 8);
  }

  void copy_stored() {
    const size_t room = static_cast<size_t>(limit_ - out_);
    const size_t there = static_cast<size_t>(end_ - in_);
    const size_t count = std::min({static_cast<size_t>(stored_), room, there});
    std::memcpy(out_, in_, count);
    out_ += count;
    in_ += count;
    stored_ -= static_cast<uint32_t>(count);
    if (stored_ == 0) {
      state_ = State::between_blocks;
    } else if (count == there) {
      state_ = State::broken;
    }
  }

  bool open_fixed() {
    std::array<uint8_t, 288> lengths;
    for (unsigned symbol = 0; symbol < lengths.size(); ++symbol) {
      lengths[symbol] = symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8;
    }
    std::array<uint8_t, 32> equal;
    equal.fill(5);
    return literals_.build(lengths.data(), lengths.size(), literal_symbols) &&
        distances_.build(equal.data(), equal.size(), distance_symbols);
  }

  bool open_dynamic() {
    static constexpr std::array<uint8_t, 19> order{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const uint32_t num_literals = 257 + read(5);
    const uint32_t num_distances = 1 + read(5);
    const uint32_t num_lengths = 4 + read(4);
    std::array<uint8_t, 19> of_lengths{};
    for (uint32_t index = 0; index < num_lengths; ++index) {
      refill();
      of_lengths[order[index]] = static_cast<uint8_t>(read(3));
    }
    DecodingTable<7, 19> table;
    std::array<uint8_t, 288 + 32> lengths{};
    return num_literals <= 286 && num_distances <= 30 && table.build(of_lengths.data(), 19, length_symbols) &&
        read_lengths(table, lengths.data(), num_literals + num_distances) &&
        literals_.build(lengths.data(), num_literals, literal_symbols) &&
        distances_.build(lengths.data() + num_literals, num_distances, distance_symbols);
  }

  bool read_lengths(const DecodingTable<7, 19>& table, uint8_t* lengths, uint32_t count) {
    for (uint32_t index = 0; index < count;) {
      if (in_ > end_ + 8) {
        return false;
      }
      refill();
      const uint32_t entry = table.find(bits_);
      const uint32_t symbol = value_of(entry);
      if (entry == 0) {
        return false;
      }
      skip(bits_of(entry));
      if (symbol < 16) {
        lengths[index++] = static_cast<uint8_t>(symbol);
        continue;
      }
      const uint8_t value = symbol == 16 && index > 0 ? lengths[index - 1] : 0;
      const uint32_t times = symbol == 16 ? 3 + read(2) : symbol == 17 ? 3 + read(3) : 11 + read(7);
      if (times > count - index || (symbol == 16 && index == 0)) {
        return false;
      }
      std::memset(lengths + index, value, times);
      index += times;
    }
    return true;
  }

  // Decodes until the block ends or the output reaches `limit`. The slack starts at `limit`.
  void decode(const uint8_t* limit) {
    uint8_t* out = out_;
    while (out < limit) {
      if (in_ > end_ + 8) {
        state_ = State::broken;
        break;
      }
      refill(); // at least 56 bits: enough for two literals, or for a length and its distance
      uint32_t entry = literals_.find(bits_);
      if ((entry & literal_entry) != 0) {
        skip(bits_of(entry));
        *out++ = static_cast<uint8_t>(value_of(entry));
        entry = literals_.find(bits_);
        if ((entry & literal_entry) != 0) {
          skip(bits_of(entry));
          *out++ = static_cast<uint8_t>(value_of(entry));
          continue;
        }
        refill();
      }
      if ((entry & base_entry) == 0) {
        skip(bits_of(entry));
        state_ = (entry & end_entry) != 0 ? State::between_blocks : State::broken;
        break;
      }
      const size_t length = number(entry);
      entry = distances_.find(bits_);
      if ((entry & base_entry) == 0) {
        state_ = State::broken;
        break;
      }
      const size_t distance = number(entry);
      if (distance > static_cast<size_t>(out - buffer_.data())) {
        state_ = State::broken;
        break;
      }
      out = repeat(out, distance, length);
    }
    out_ = out;
    if (overrun()) {
      state_ = State::broken;
    }
  }

  // Returns a length or distance: the entry's value plus the extra bits after its code. Consumes both.
  size_t number(uint32_t entry) {
    const uint64_t mask = (uint64_t{1} << bits_of(entry)) - 1;
    const size_t extra = (bits_ & mask) >> code_bits_of(entry);
    skip(bits_of(entry));
    return value_of(entry) + extra;
  }

  // Appends `length` bytes copied from `distance` bytes back. Writes up to 32 bytes past the end.
  static uint8_t* repeat(uint8_t* out, size_t distance, size_t length) {
    uint8_t* const end = out + length;
    if (distance == 1) {
      std::memset(out, out[-1], length);
      return end;
    }
    const uint8_t* const from = out - distance;
    for (; distance < 16; distance *= 2) { // each copy doubles the bytes that can be read at `from`
      copy16(out, from);
      out += distance;
    }
    for (; out < end; out += 16) {
      copy16(out, out - distance);
    }
    return end;
  }

  static void copy16(uint8_t* to, const uint8_t* from) {
    std::array<uint8_t, 16> block;
    std::memcpy(block.data(), from, block.size());
    std::memcpy(to, block.data(), block.size());
  }

  static constexpr std::array<Symbol, 288> literal_symbols = literals_and_lengths();
  static constexpr std::array<Symbol, 32> distance_symbols = distances();
  static constexpr std::array<Symbol, 19> length_symbols = code_lengths();

  const uint8_t* in_;
  const uint8_t* const end_;
  uint64_t bits_ = 0;
  unsigned num_bits_ = 0;
  bool last_ = false;
  State state_ = State::between_blocks;
  uint32_t stored_ = 0;
  std::vector<uint8_t> buffer_;
  uint8_t* taken_ = nullptr;
  uint8_t* out_ = nullptr;
  uint8_t* limit_ = nullptr;
  DecodingTable<11, 288> literals_;
  DecodingTable<8, 32> distances_;
};

} // namespace seamseg::scoring
