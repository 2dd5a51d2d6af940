// Pointers to the elements of tensors.

#pragma once

#include <optional>

#include <torch/csrc/stable/tensor.h>

namespace seamseg {

template <typename T>
const T* pointer(const torch::stable::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

// Returns null if there is no tensor.
template <typename T>
const T* pointer(const std::optional<torch::stable::Tensor>& tensor) {
  return tensor.has_value() ? pointer<T>(*tensor) : nullptr;
}

// Returns null if the tensor is empty.
template <typename T>
T* mutable_pointer(const torch::stable::Tensor& tensor) {
  return tensor.numel() == 0 ? nullptr : static_cast<T*>(tensor.mutable_data_ptr());
}

inline bool on_same_device(const torch::stable::Tensor& one, const torch::stable::Tensor& other) {
  return one.is_cuda() == other.is_cuda() && one.get_device_index() == other.get_device_index();
}

} // namespace seamseg
