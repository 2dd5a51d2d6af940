// Shadow memory of a kernel: which thread last wrote and read each place. It shows whether two threads race.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <memory>

#include "hooks.h"

namespace cuda_host {

// A thread at a point in time. Barriers divide the time of a block, and __syncwarp divides the time of a warp.
struct Moment {
  uint32_t launch = 0; // counted from 1; 0 means never
  uint32_t block = 0;
  uint16_t warp = 0;
  uint16_t thread = 0;
  uint16_t barrier = 0;
  uint16_t warp_barrier = 0;

  static constexpr uint32_t several_blocks = 0xffffffff;
  static constexpr uint16_t several = 0xffff; // several warps or threads

  // Whether neither access is certain to happen before the other. Earlier launches have already finished.
  bool concurrent_with(const Moment& other) const {
    if (launch != other.launch || launch == 0) {
      return false;
    }
    if (block != other.block || block == several_blocks) {
      return true;
    }
    if (barrier != other.barrier) {
      return false;
    }
    return differs(warp, other.warp) || (differs(thread, other.thread) && warp_barrier == other.warp_barrier);
  }

  // Returns a moment that represents both.
  Moment with(const Moment& other) const {
    Moment both = other;
    both.block = block == other.block ? block : several_blocks;
    both.warp = differs(warp, other.warp) ? several : warp;
    both.thread = differs(thread, other.thread) ? several : thread;
    return both;
  }

 private:
  static bool differs(uint16_t one, uint16_t other) { return one != other || one == several; }
};

class Region {
 public:
  // Accesses smaller than `granule`, a power of two, count as accesses to all of it.
  Region(const void* memory, size_t bytes, size_t granule, bool writable, bool shared)
      : begin_(reinterpret_cast<uintptr_t>(memory)),
        bytes_(bytes),
        granule_(granule),
        writable_(writable),
        shared_(shared),
        places_(static_cast<Place*>(std::calloc(bytes / granule + 2, sizeof(Place))), &std::free) {}

  bool contains(uintptr_t address) const { return address >= begin_ && address < begin_ + bytes_; }
  uintptr_t end() const { return begin_ + bytes_; }

  // Returns what is wrong with the access, or null.
  const char* access(uintptr_t address, size_t bytes, Kind kind, const Moment& now) {
    if (address + bytes > end()) {
      return "reaches past the end of its buffer";
    }
    if (kind != Kind::read && !writable_) {
      return "writes to a buffer that is read-only";
    }
    const size_t last = (address - begin_ + bytes - 1) / granule_;
    for (size_t i = (address - begin_) / granule_; i <= last; ++i) {
      if (const char* fault = touch(places_.get()[i], kind, now)) {
        return fault;
      }
    }
    return nullptr;
  }

 private:
  struct Place {
    Moment writer, reader, adder;
  };

  const char* touch(Place& place, Kind kind, const Moment& now) const {
    if (shared_) {
      forget_other_blocks(place, now);
      if (kind != Kind::write && place.writer.launch == 0 && place.adder.launch == 0) {
        return "reads shared memory that this block never wrote";
      }
    }
    if (place.writer.concurrent_with(now)) {
      return kind == Kind::read ? "race: reads memory that another thread wrote, without a barrier in between"
                                : "race: writes memory that another thread wrote, without a barrier in between";
    }
    if (kind != Kind::atomic && place.adder.concurrent_with(now)) {
      return "race: accesses memory that another thread updates atomically, without a barrier in between";
    }
    if (kind != Kind::read && place.reader.concurrent_with(now)) {
      return "race: writes memory that another thread read, without a barrier in between";
    }
    note(kind == Kind::read ? place.reader : kind == Kind::write ? place.writer : place.adder, now);
    return nullptr;
  }

  // The zeros of calloc are valid places: their moments never happened.
  static void forget_other_blocks(Place& place, const Moment& now) {
    for (Moment* moment : {&place.writer, &place.reader, &place.adder}) {
      if (moment->launch != now.launch || moment->block != now.block) {
        *moment = Moment{};
      }
    }
  }

  static void note(Moment& last, const Moment& now) { last = last.concurrent_with(now) ? last.with(now) : now; }

  uintptr_t begin_;
  size_t bytes_, granule_;
  bool writable_, shared_;
  std::unique_ptr<Place, decltype(&std::free)> places_;
};

} // namespace cuda_host
