// Every operator of the native library, by schema. The kernels register themselves beside their code, one
// ..._IMPL block per operator and backend; shape functions and derivatives are in seamseg/ops/.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(seamseg, library) {
  // Annotation
  library.def("segment_boxes(Tensor ids, int num_segments) -> (Tensor boxes, Tensor areas)");
}
