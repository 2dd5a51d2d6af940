// Runs CUDA kernels on the CPU. Every thread of a block is a fiber with its own stack. The fibers run one at a time, in
// turn, and switch where they wait for each other. hooks.cpp reports every memory access to this file.

#include "cuda_runtime.h"

#include <deque>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "fiber.h"
#include "shadow.h"

// Static memory of this library, which contains the __shared__ variables of the kernels.
extern "C" {
extern char __bss_start __attribute__((visibility("hidden")));
extern char _end __attribute__((visibility("hidden")));
}

namespace cuda_host {
namespace {

constexpr size_t smallest = 2; // smallest size of a number in shared memory, in bytes

struct Machine {
  std::deque<Fiber> fibers; // of one block; reused for the next
  std::vector<std::deque<Meeting>> warps;
  std::vector<uint16_t> warp_barriers;
  std::vector<Region> regions;
  std::unique_ptr<Region> static_shared;
  std::vector<std::max_align_t> dynamic_shared;
  void (*thread)(const void*) = nullptr;
  const void* argument = nullptr; // of `thread`
  dim3 grid, block, block_index;
  unsigned num_threads = 0, current = 0, arrived = 0, barrier = 0;
  uint32_t launch = 0;
  bool running = false; // whether a kernel's own code is running, so its accesses are checked
  std::string fault;
  jmp_buf scheduler{};
};

Machine machine;

enum Return { begun = 0, waiting = 1, faulted = 2 }; // reasons for returning to the scheduler

Fiber& fiber() { return machine.fibers[machine.current]; }

unsigned flat_block() {
  const dim3 at = machine.block_index;
  return (at.z * machine.grid.y + at.y) * machine.grid.x + at.x;
}

Moment now() {
  const auto warp = static_cast<uint16_t>(machine.current / warp_threads);
  const auto barrier = static_cast<uint16_t>(machine.barrier);
  return {
      machine.launch, flat_block(), warp, static_cast<uint16_t>(machine.current), barrier, machine.warp_barriers[warp]};
}

// Ends the launch. Its fibers are discarded.
[[noreturn]] void fail(const std::string& what) {
  const auto text = [](dim3 index) {
    return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
  };
  machine.fault = "block " + text(machine.block_index) + ", thread " + text(thread_index()) + ": " + what;
  _longjmp(machine.scheduler, faulted);
}

void change_over() {
  machine.running = false;
  if (_setjmp(fiber().resume) == 0) {
    _longjmp(machine.scheduler, waiting);
  }
  machine.running = true;
}

void wait_for_change(const unsigned& count, const char* function) {
  fiber().awaited = &count;
  fiber().seen = count;
  fiber().waits_in = function;
  change_over();
}

void fiber_main() {
  for (;;) {
    machine.running = true;
    machine.thread(machine.argument);
    fiber().finished = true;
    change_over();
  }
}

void enter(Fiber& next) {
  if (next.started) {
    _longjmp(next.resume, 1);
  }
  next.started = true;
  getcontext(&next.context);
  next.context.uc_stack.ss_sp = next.stack.get();
  next.context.uc_stack.ss_size = stack_bytes;
  makecontext(&next.context, &fiber_main, 0);
  setcontext(&next.context);
}

// Runs the current fiber until it waits or ends.
void run_current() {
  switch (_setjmp(machine.scheduler)) {
    case begun:
      fiber().awaited = nullptr;
      enter(fiber());
      break;
    case faulted: machine.fibers.clear(); throw std::runtime_error(machine.fault);
    default: break;
  }
}

[[noreturn]] void report_deadlock() {
  std::ostringstream text;
  text << "deadlock:";
  unsigned finished = 0;
  for (unsigned i = 0; i < machine.num_threads; ++i) {
    finished += machine.fibers[i].finished ? 1 : 0;
    if (!machine.fibers[i].finished && (i == 0 || machine.fibers[i - 1].finished)) {
      text << " thread " << i << " and possibly others wait in " << machine.fibers[i].waits_in << ",";
    }
  }
  text << " " << finished << " of " << machine.num_threads << " threads have returned";
  machine.fibers.clear();
  throw std::runtime_error(text.str());
}

void start_block() {
  machine.arrived = 0;
  for (auto& warp : machine.warps) {
    warp.clear();
  }
  for (Fiber& fiber : machine.fibers) {
    fiber.finished = false;
    fiber.awaited = nullptr;
  }
}

void run_block() {
  start_block();
  // Every other block runs from its last thread to its first, because results must not depend on the order.
  const bool backwards = flat_block() % 2 == 1;
  for (unsigned finished = 0; finished < machine.num_threads;) {
    bool any = false;
    finished = 0;
    for (unsigned i = 0; i < machine.num_threads; ++i) {
      machine.current = backwards ? machine.num_threads - 1 - i : i;
      const Fiber& own = fiber();
      if (!own.finished && (own.awaited == nullptr || *own.awaited != own.seen)) {
        any = true;
        run_current();
      }
      finished += own.finished ? 1 : 0;
    }
    if (!any && finished < machine.num_threads) {
      report_deadlock();
    }
  }
}

void prepare(dim3 grid, dim3 block, size_t shared_bytes) {
  machine.num_threads = block.x * block.y * block.z;
  if (machine.num_threads == 0 || machine.num_threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.y > 65535 || grid.z > 65535 || block.z > 64) {
    throw std::runtime_error("grid or block size that GPUs reject");
  }
  machine.grid = grid;
  machine.block = block;
  ++machine.launch;
  const unsigned num_warps = (machine.num_threads + warp_threads - 1) / warp_threads;
  machine.warps.resize(num_warps);
  machine.warp_barriers.assign(num_warps, 0);
  if (machine.fibers.size() < machine.num_threads) {
    machine.fibers.resize(machine.num_threads);
  }
  if (machine.static_shared == nullptr) {
    machine.static_shared = std::make_unique<Region>(&__bss_start, &_end - &__bss_start, smallest, true, true);
  }
  machine.dynamic_shared.resize(shared_bytes / sizeof(std::max_align_t) + 1);
  machine.regions.emplace_back(machine.dynamic_shared.data(), shared_bytes, smallest, true, true);
}

Region& region_of(uintptr_t address, Kind kind) {
  for (Region& region : machine.regions) {
    if (region.contains(address)) {
      return region;
    }
  }
  if (!machine.static_shared->contains(address)) {
    fail(std::string(kind == Kind::read ? "reads" : "writes") + " outside all buffers");
  }
  return *machine.static_shared;
}

} // namespace

void access(const void* pointer, size_t bytes, Kind kind) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (!machine.running || fiber().contains(address)) {
    return;
  }
  machine.running = false;
  const char* fault = region_of(address, kind).access(address, bytes, kind, now());
  if (fault != nullptr) {
    fail(fault);
  }
  machine.running = true;
}

void fail_in_kernel(const char* what) {
  if (machine.running) {
    machine.running = false;
    fail(what);
  }
}

void give(const void* memory, size_t bytes, size_t number_bytes, bool writable) {
  machine.regions.emplace_back(memory, bytes, number_bytes, writable, false);
}

const char* fault_of(const std::function<void()>& use) {
  static std::string fault;
  fault.clear();
  try {
    use();
  } catch (const std::exception& error) {
    fault = error.what();
  }
  machine.regions.clear();
  return fault.c_str();
}

void run(
    const std::string& name, dim3 grid, dim3 block, size_t shared_bytes, void (*thread)(const void*),
    const void* argument) {
  machine.thread = thread;
  machine.argument = argument;
  try {
    prepare(grid, block, shared_bytes);
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
          machine.block_index = {x, y, z};
          run_block();
        }
      }
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(name + ": " + error.what());
  }
  machine.regions.pop_back(); // dynamic shared memory
}

dim3 thread_index() {
  const unsigned i = machine.current;
  const dim3 size = machine.block;
  return {i % size.x, i / size.x % size.y, i / size.x / size.y};
}

dim3 block_index() { return machine.block_index; }
dim3 block_size() { return machine.block; }
dim3 grid_size() { return machine.grid; }
void* dynamic_shared() { return machine.dynamic_shared.data(); }
int lane() { return static_cast<int>(machine.current % warp_threads); }

uint64_t exchange(unsigned mask, uint64_t bits, int source, const char* function) {
  machine.running = false;
  auto& warp = machine.warps[machine.current / warp_threads];
  if ((mask >> lane() & 1) == 0) {
    fail(std::string(function) + " with a mask that excludes the calling lane");
  }
  if ((mask >> source & 1) == 0) {
    fail(std::string(function) + " reads from a lane that is not in the mask");
  }
  Meeting* meeting = nullptr;
  for (Meeting& other : warp) {
    meeting = other.mask == mask ? &other : meeting;
  }
  if (meeting == nullptr) {
    meeting = &warp.emplace_back(Meeting{mask, function});
  }
  if (meeting->arrived > 0 && meeting->function != function) {
    fail(std::string(function) + " meets other lanes in " + meeting->function);
  }
  const unsigned round = meeting->round;
  meeting->function = function;
  meeting->bits[round % 2][lane()] = bits;
  if (++meeting->arrived == __builtin_popcount(mask)) {
    meeting->arrived = 0;
    ++meeting->round;
  } else {
    wait_for_change(meeting->round, function);
  }
  machine.running = true;
  return meeting->bits[round % 2][source];
}

void* checked_atomic(void* address, size_t bytes) {
  access(address, bytes, Kind::atomic);
  return address;
}

} // namespace cuda_host

void __syncthreads() {
  using namespace cuda_host;
  if (++machine.arrived == machine.num_threads) {
    machine.arrived = 0;
    ++machine.barrier;
  } else {
    wait_for_change(machine.barrier, "__syncthreads");
  }
}

void __syncwarp(unsigned mask) {
  using namespace cuda_host;
  const unsigned warp = machine.current / warp_threads;
  const unsigned before = machine.warp_barriers[warp];
  exchange(mask, 0, lane(), "__syncwarp");
  if (mask == 0xffffffffu && machine.warp_barriers[warp] == before) {
    ++machine.warp_barriers[warp];
  }
}
