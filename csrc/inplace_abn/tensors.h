// Data of tensors, and new tensors, as both backends need them.

#pragma once

#include <torch/csrc/stable/ops.h>

#include "arguments.h"

namespace seamseg::inplace_abn {

template <typename T>
const T* pointer(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
const T* pointer(const OptionalTensor& tensor) {
  return tensor.has_value() ? pointer<T>(*tensor) : nullptr;
}

// Null without a number.
template <typename T>
T* mutable_pointer(const Tensor& tensor) {
  return tensor.numel() == 0 ? nullptr : static_cast<T*>(tensor.mutable_data_ptr());
}

inline Tensor two_per_channel(const Tensor& x) {
  return torch::stable::new_empty(x, {2, x.size(1)}, accumulate_type(x));
}

} // namespace seamseg::inplace_abn
