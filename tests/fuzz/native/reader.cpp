// Reads id PNGs with the code of csrc/, compiled with sanitizers. Each input line is a path. Each output line is
// "HEIGHT WIDTH SUM" or "refused".

#include <dlfcn.h>

#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "png/rows_cpu.h"
#include "scoring/borders_cpu.h"
#include "scoring/pairs_cpu.h"

using namespace seamseg;
using namespace seamseg::png;
using namespace seamseg::scoring;

namespace {

void* in_system_zlib(const char* name) {
  static void* const library = dlopen("libz.so.1", RTLD_NOW);
  return library == nullptr ? nullptr : dlsym(library, name);
}

int32_t inflate_init(ZlibStream* stream, int32_t window_bits) {
  using Init = int (*)(ZlibStream*, int, const char*, int);
  constexpr int size = 112; // of z_stream; zlib does not use its last members, which ZlibStream lacks
  return reinterpret_cast<Init>(in_system_zlib("inflateInit2_"))(stream, window_bits, "1.2", size);
}

// Sets the functions of zlib, which is compatible with zlib-ng and does not require Python. Returns whether it exists.
bool use_system_zlib() {
  zlib.inflate_init = inflate_init;
  zlib.inflate = reinterpret_cast<decltype(zlib.inflate)>(in_system_zlib("inflate"));
  zlib.inflate_end = reinterpret_cast<decltype(zlib.inflate_end)>(in_system_zlib("inflateEnd"));
  zlib.crc32 = [](uint32_t crc, const uint8_t* bytes, uint32_t count) {
    using Crc = unsigned long (*)(unsigned long, const uint8_t*, unsigned);
    return static_cast<uint32_t>(reinterpret_cast<Crc>(in_system_zlib("crc32"))(crc, bytes, count));
  };
  return zlib.inflate != nullptr;
}

std::vector<uint8_t> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

PngRows open(const std::vector<uint8_t>& bytes) { return PngRows(PngFile(bytes.data(), bytes.size())); }

void answer(const std::string& path) {
  const std::vector<uint8_t> bytes = read(path);
  PngRows rows = open(bytes);
  int64_t sum = 0;
  for (int64_t y = 0; y < rows.height(); ++y) {
    int32_t x = 0;
    for (const Run& run : rows.next()) {
      sum += run.id * (run.end - x);
      x = run.end;
    }
  }
  Pairs pairs;
  BorderedRows one(open(bytes), 2);
  BorderedRows other(open(bytes), 2);
  pairs.add(one, other);
  std::cout << rows.height() << ' ' << rows.width() << ' ' << sum << std::endl;
}

} // namespace

int main() {
  if (!use_system_zlib()) {
    std::cerr << "libz.so.1 was not found" << std::endl;
    return 2;
  }
  for (std::string path; std::getline(std::cin, path);) {
    try {
      answer(path);
    } catch (const std::exception& error) {
      std::cout << "refused: " << error.what() << std::endl;
    }
  }
}
