// The prefix codes of DEFLATE (RFC 1951, section 3.2): the meaning of their symbols, and tables that decode them.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace seamseg::scoring {

// An entry of a decoding table. From the lowest bit: 5 bits for the total number of bits to consume, 4 bits for the
// length of the code itself, 4 flag bits for the kind of entry, and the value from bit 16 on. An entry of 0 means that
// there is no code.
constexpr uint32_t literal_entry = 1u << 9;
constexpr uint32_t base_entry = 1u << 10; // base of a length or distance, to which the bits after the code are added
constexpr uint32_t end_entry = 1u << 11;
constexpr uint32_t nested_entry = 1u << 12; // the code continues in a table at `value` with 2^(bits to consume) entries

inline uint32_t value_of(uint32_t entry) { return entry >> 16; }
inline unsigned bits_of(uint32_t entry) { return entry & 31; }
inline unsigned code_bits_of(uint32_t entry) { return entry >> 5 & 15; }

// Meaning of a symbol: an entry without its code, and the number of extra bits after the code.
struct Symbol {
  uint32_t entry = 0;
  unsigned extra_bits = 0;
};

constexpr std::array<Symbol, 288> literals_and_lengths() {
  std::array<Symbol, 288> symbols{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    symbols[byte] = {literal_entry | byte << 16, 0};
  }
  symbols[256] = {end_entry, 0};
  for (uint32_t symbol = 257, length = 3; symbol < 285; ++symbol) {
    const unsigned extra = symbol < 265 ? 0 : (symbol - 261) / 4;
    symbols[symbol] = {base_entry | length << 16, extra};
    length += 1u << extra;
  }
  symbols[285] = {base_entry | 258u << 16, 0};
  return symbols;
}

constexpr std::array<Symbol, 32> distances() {
  std::array<Symbol, 32> symbols{};
  for (uint32_t symbol = 0, distance = 1; symbol < 30; ++symbol) {
    const unsigned extra = symbol < 4 ? 0 : symbol / 2 - 1;
    symbols[symbol] = {base_entry | distance << 16, extra};
    distance += 1u << extra;
  }
  return symbols;
}

constexpr std::array<Symbol, 19> code_lengths() {
  std::array<Symbol, 19> symbols{};
  for (uint32_t symbol = 0; symbol < 19; ++symbol) {
    symbols[symbol] = {literal_entry | symbol << 16, 0};
  }
  return symbols;
}

// Decodes one code of at most 15 bits. Codes longer than RootBits continue in nested tables.
template <unsigned RootBits, unsigned NumSymbols>
class DecodingTable {
 public:
  // lengths: Code lengths of the first `count` symbols; 0 for unused symbols. Returns false if no such code exists.
  bool build(const uint8_t* lengths, unsigned count, const std::array<Symbol, NumSymbols>& symbols) {
    std::array<uint32_t, max_length + 1> next_code{};
    if (!first_codes(lengths, count, next_code)) {
      return false;
    }
    std::array<uint16_t, NumSymbols> codes{};
    std::array<uint8_t, root_size> nested_bits{};
    for (unsigned symbol = 0; symbol < count; ++symbol) {
      const unsigned length = lengths[symbol];
      codes[symbol] = length == 0 ? 0 : reversed(next_code[length]++, length);
      if (length > RootBits) {
        uint8_t& bits = nested_bits[codes[symbol] % root_size];
        bits = std::max(bits, static_cast<uint8_t>(length - RootBits));
      }
    }
    lay_out(nested_bits);
    for (unsigned symbol = 0; symbol < count; ++symbol) {
      if (lengths[symbol] != 0 && symbols[symbol].entry != 0) {
        enter(codes[symbol], lengths[symbol], symbols[symbol]);
      }
    }
    return true;
  }

  uint32_t find(uint64_t bits) const {
    const uint32_t entry = entries_[bits % root_size];
    if ((entry & nested_entry) == 0) {
      return entry;
    }
    return entries_[value_of(entry) + (bits >> RootBits & ((1u << bits_of(entry)) - 1))];
  }

 private:
  static constexpr unsigned max_length = 15;
  static constexpr unsigned root_size = 1u << RootBits;
  // Every symbol opens at most one nested table, so no code needs more entries.
  static constexpr unsigned capacity = root_size + NumSymbols * (1u << (max_length - RootBits));

  // Computes the first code of each length. Returns false if the lengths are oversubscribed.
  static bool first_codes(const uint8_t* lengths, unsigned count, std::array<uint32_t, max_length + 1>& first) {
    std::array<uint32_t, max_length + 1> num{};
    for (unsigned symbol = 0; symbol < count; ++symbol) {
      ++num[lengths[symbol]];
    }
    num[0] = 0;
    for (unsigned length = 1; length <= max_length; ++length) {
      first[length] = (first[length - 1] + num[length - 1]) << 1;
      if (first[length] + num[length] > 1u << length) {
        return false;
      }
    }
    return true;
  }

  // Reverses the bits of a code. The stream stores the first bit of a code in the lowest bit.
  static uint16_t reversed(uint32_t code, unsigned length) {
    uint32_t result = 0;
    for (unsigned bit = 0; bit < length; ++bit) {
      result |= (code >> bit & 1) << (length - 1 - bit);
    }
    return static_cast<uint16_t>(result);
  }

  void lay_out(const std::array<uint8_t, root_size>& nested_bits) {
    std::fill_n(entries_.begin(), root_size, 0u);
    uint32_t next = root_size;
    for (unsigned prefix = 0; prefix < root_size; ++prefix) {
      const unsigned bits = nested_bits[prefix];
      if (bits != 0) {
        entries_[prefix] = nested_entry | next << 16 | bits;
        std::fill_n(entries_.begin() + next, 1u << bits, 0u);
        next += 1u << bits;
      }
    }
  }

  void enter(unsigned code, unsigned length, const Symbol& symbol) {
    const uint32_t entry = symbol.entry | length << 5 | (length + symbol.extra_bits);
    uint32_t* table = entries_.data();
    unsigned size = root_size;
    unsigned step = length;
    if (length > RootBits) {
      const uint32_t nested = table[code % root_size];
      table += value_of(nested);
      size = 1u << bits_of(nested);
      code >>= RootBits;
      step -= RootBits;
    }
    for (unsigned index = code; index < size; index += 1u << step) {
      table[index] = entry;
    }
  }

  std::array<uint32_t, capacity> entries_;
};

} // namespace seamseg::scoring
