// Reads id PNGs with the code of csrc/, compiled with sanitizers. Each input line is a path. Each output line is
// "HEIGHT WIDTH SUM" or "refused".

#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "scoring/borders_cpu.h"
#include "scoring/pairs_cpu.h"
#include "scoring/png_rows_cpu.h"

using namespace seamseg;
using namespace seamseg::scoring;

namespace {

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
  for (std::string path; std::getline(std::cin, path);) {
    try {
      answer(path);
    } catch (const std::exception& error) {
      std::cout << "refused: " << error.what() << std::endl;
    }
  }
}
