// Chooses blocks, vector widths and index types for the CUDA kernels and launches them. It does not depend on PyTorch
// or streams: the caller passes a function `launch(kernel, grid, block, arguments...)`, which the tests replace.

#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "kernels_cuda.h"

namespace seamseg::inplace_abn::cuda {

// Size of an input: `rows` times `channels` planes of `inner` samples, or `rows` of `channels` samples (inner = 1).
struct Extent {
  uint64_t rows, channels, inner;
  bool interleaved;

  uint64_t numel() const { return rows * channels * inner; }
};

struct Plan {
  dim3 grid, block;
  Geometry<uint64_t> geometry;
  bool interleaved;
  bool packs; // interleaved: whether channels are read in packs
  bool wide;  // planar: whether positions need 64 bits

  int splits() const { return static_cast<int>(grid.y); }
};

// Size of the workspace that the two kernels of a reduction share, in numbers.
inline int64_t workspace_size(const Plan& plan) {
  constexpr int64_t most_fields = PartialMoments<float, 1>::fields;
  return most_fields * plan.splits() * static_cast<int64_t>(plan.geometry.channels);
}

// Number of samples between the last 16-byte boundary and the start of every tensor, or nothing if it differs among the
// tensors. Null pointers are ignored; they mean that there is no such tensor.
template <typename T>
std::optional<uint64_t> common_lead(std::initializer_list<const void*> tensors) {
  std::optional<uint64_t> lead;
  for (const void* tensor : tensors) {
    const uint64_t bytes = reinterpret_cast<uintptr_t>(tensor) % access_bytes;
    if (tensor != nullptr && lead.value_or(bytes) != bytes) {
      return std::nullopt;
    }
    lead = tensor != nullptr ? bytes : lead;
  }
  return lead.value_or(0) / sizeof(T);
}

inline uint64_t divide_up(uint64_t number, uint64_t divisor) { return (number + divisor - 1) / divisor; }

inline unsigned power_of_two_from(uint64_t number, unsigned most) {
  unsigned power = 1;
  while (power < number && power < most) {
    power *= 2;
  }
  return power;
}

// Returns the number of blocks per channel: enough to keep the whole device busy, with work for each of their threads.
inline unsigned count_splits(uint64_t rounds, uint64_t blocks, int multiprocessors) {
  constexpr uint64_t blocks_per_multiprocessor = 16;
  constexpr uint64_t most = 65535; // limit of gridDim.y
  const uint64_t wanted = divide_up(blocks_per_multiprocessor * multiprocessors, blocks);
  const uint64_t splits = std::clamp<uint64_t>(wanted, 1, std::min(rounds, most));
  return static_cast<unsigned>(divide_up(rounds, divide_up(rounds, splits))); // balances the work of the blocks
}

// The input must not be empty. `tensors` are all full-size tensors that a kernel reads or writes.
template <typename T>
Plan make_plan(const Extent& extent, std::initializer_list<const void*> tensors, int multiprocessors) {
  constexpr unsigned pack = access_bytes / sizeof(T);
  constexpr unsigned packs_per_piece = 4; // per thread
  // Minimum for interleaved inputs, so partial results are small compared to the input.
  constexpr unsigned rows_per_thread = 8;
  constexpr unsigned most_channel_threads = 32;
  const std::optional<uint64_t> lead = common_lead<T>(tensors);
  Plan plan{};
  plan.interleaved = extent.interleaved;
  plan.packs = lead == 0u && extent.channels % pack == 0;
  plan.wide = extent.numel() >= uint64_t{1} << 31;
  plan.geometry = {extent.rows, extent.channels, extent.inner, 1, extent.inner, lead.value_or(0), lead.has_value()};
  uint64_t rounds = 0; // of one block, if each channel had only one
  if (plan.interleaved) {
    const uint64_t packs = plan.packs ? extent.channels / pack : extent.channels;
    plan.block.x = power_of_two_from(packs, most_channel_threads);
    plan.block.y = block_threads / plan.block.x;
    plan.grid.x = static_cast<unsigned>(divide_up(packs, plan.block.x));
    rounds = divide_up(extent.rows, uint64_t{plan.block.y} * rows_per_thread);
  } else {
    plan.block.x = power_of_two_from(divide_up(extent.inner, lead ? pack : 1), block_threads);
    plan.block.y = block_threads / plan.block.x;
    plan.grid.x = static_cast<unsigned>(extent.channels);
    plan.geometry.piece = std::min<uint64_t>(extent.inner, plan.block.x * pack * packs_per_piece);
    plan.geometry.pieces = divide_up(extent.inner, plan.geometry.piece);
    rounds = divide_up(extent.rows * plan.geometry.pieces, plan.block.y);
  }
  plan.grid.y = count_splits(rounds, plan.grid.x, multiprocessors);
  return plan;
}

// --- template dispatch ----------------------------------------------------------------------------------------------

template <typename I>
Geometry<I> narrow_geometry(const Geometry<uint64_t>& of) {
  const auto narrow = [](uint64_t number) { return static_cast<I>(number); };
  return {narrow(of.rows),  narrow(of.channels), narrow(of.inner), narrow(of.pieces),
          narrow(of.piece), narrow(of.lead),     of.vectors};
}

// Calls use(geometry, interleaved, width). Interleaved rows always use 64-bit indices: one addition per pack costs
// nothing, and fewer variants are compiled. Planar positions need divisions, so they use 32 bits where possible.
template <typename T, typename Use>
void with_variant(const Plan& plan, const Use& use) {
  constexpr int pack = access_bytes / sizeof(T);
  if (plan.interleaved && plan.packs) {
    use(plan.geometry, std::true_type{}, Width<pack>{});
  } else if (plan.interleaved) {
    use(plan.geometry, std::true_type{}, Width<1>{});
  } else if (plan.wide) {
    use(plan.geometry, std::false_type{}, Width<pack>{});
  } else {
    use(narrow_geometry<uint32_t>(plan.geometry), std::false_type{}, Width<pack>{});
  }
}

// T: Type of the outputs. A: Compute type.
template <typename T, typename Use, typename A = Accumulate<T>>
void with_activation(Activation activation, double slope, const Use& use) {
  const auto number = static_cast<A>(slope);
  const auto inverse = static_cast<A>(1 / slope);
  const auto saturation = elu_saturation<A>(significant_bits<T>());
  switch (activation) {
    case Activation::identity: return use(ActivationOf<A, Activation::identity>{number, inverse, saturation});
    case Activation::leaky_relu: return use(ActivationOf<A, Activation::leaky_relu>{number, inverse, saturation});
    case Activation::elu: return use(ActivationOf<A, Activation::elu>{number, inverse, saturation});
  }
}

// --- launches -------------------------------------------------------------------------------------------------------

template <typename T, typename Operation, typename Launch>
void launch_map(const Launch& launch, const Plan& plan, const Operation& operation) {
  with_variant<T>(plan, [&](auto geometry, auto interleaved, auto width) {
    using I = decltype(geometry.rows);
    launch(
        &map<Operation, I, decltype(interleaved)::value, decltype(width)::value>, plan.grid, plan.block, operation,
        geometry);
  });
}

template <typename T, typename Operation, typename Launch>
void launch_reduce(
    const Launch& launch, const Plan& plan, const Operation& operation, Accumulate<T>* workspace,
    Accumulate<T>* result) {
  with_variant<T>(plan, [&](auto geometry, auto interleaved, auto width) {
    using I = decltype(geometry.rows);
    launch(
        &reduce<Operation, I, decltype(interleaved)::value, decltype(width)::value>, plan.grid, plan.block, operation,
        geometry, workspace);
  });
  const unsigned channels_per_block = 8; // as many floats as one memory access loads
  const auto channels = static_cast<int64_t>(plan.geometry.channels);
  const dim3 grid(static_cast<unsigned>(divide_up(channels, channels_per_block)));
  const dim3 block(channels_per_block, block_threads / channels_per_block);
  launch(
      &finish<Operation>, grid, block, operation, plan.splits(), channels, static_cast<const Accumulate<T>*>(workspace),
      result);
}

// Constants of one layer.
template <typename A>
struct Affine {
  const A *gamma, *beta;
  double eps;
  Activation activation;
  double slope;
};

template <typename T, typename Launch>
void launch_moments(
    const Launch& launch, const Plan& plan, const T* x, Accumulate<T>* workspace, Accumulate<T>* moments) {
  const auto stride = static_cast<int64_t>(plan.interleaved ? 1 : plan.geometry.inner);
  launch_reduce<T>(launch, plan, BatchMoments<T>{x, stride}, workspace, moments);
}

template <typename T, typename Launch, typename A = Accumulate<T>>
void launch_normalize(
    const Launch& launch, const Plan& plan, T* x, const T* residual, const A* moments, const Affine<A>& affine) {
  with_activation<T>(affine.activation, affine.slope, [&](auto activation) {
    const Normalize<T, decltype(activation)> operation{
        x,
        residual,
        moments,
        affine.gamma,
        affine.beta,
        static_cast<int64_t>(plan.geometry.channels),
        static_cast<A>(affine.eps),
        activation};
    launch_map<T>(launch, plan, operation);
  });
}

template <typename T>
struct Outputs { // outputs of the forward pass, and their gradient
  const T *z, *dz, *residual;
};

template <typename T, typename Launch, typename A = Accumulate<T>>
void launch_sums(
    const Launch& launch, const Plan& plan, const Outputs<T>& outputs, const Affine<A>& affine, A* workspace, A* sums) {
  with_activation<T>(affine.activation, affine.slope, [&](auto activation) {
    using Act = decltype(activation);
    const Recover<T, Act> samples{outputs.z, outputs.dz, outputs.residual, activation};
    launch_reduce<T>(launch, plan, Sums<T, Act>{samples, affine.gamma, affine.beta}, workspace, sums);
  });
}

// `means` times `means_scale` gives the means of dy and of x̂·dy.
template <typename T, typename Launch, typename A = Accumulate<T>>
void launch_gradient(
    const Launch& launch, const Plan& plan, const Outputs<T>& outputs, const A* means, double means_scale,
    const A* moments, const Affine<A>& affine, T* dx, T* dr) {
  with_activation<T>(affine.activation, affine.slope, [&](auto activation) {
    using Act = decltype(activation);
    const Recover<T, Act> samples{outputs.z, outputs.dz, outputs.residual, activation};
    const Gradient<T, Act> operation{
        samples,
        dx,
        dr,
        means,
        moments,
        affine.gamma,
        affine.beta,
        static_cast<int64_t>(plan.geometry.channels),
        static_cast<A>(means_scale),
        static_cast<A>(affine.eps)};
    launch_map<T>(launch, plan, operation);
  });
}

} // namespace seamseg::inplace_abn::cuda
