// Every operator of the native library, by schema. The kernels register themselves beside their code, one
// ..._IMPL block per operator and backend; shape functions and derivatives are in seamseg/ops/.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(seamseg, library) {
  // The build and the machine
  library.def("cuda_architectures() -> str");
  library.def("cpu_capability() -> str");

  // Annotation
  library.def("segment_boxes(Tensor ids, int num_segments) -> (Tensor boxes, Tensor areas)");

  // In-place activated BatchNorm
  library.def("abn_moments(Tensor x) -> Tensor");
  library.def(
      "abn_normalise_(Tensor(a!) x, Tensor? residual, Tensor moments, Tensor gamma, Tensor beta, float eps, "
      "int activation, float slope) -> ()");
  library.def(
      "abn_train_(Tensor(a!) x, Tensor? residual, Tensor gamma, Tensor beta, float eps, int activation, float slope) "
      "-> Tensor");
  library.def(
      "abn_sums(Tensor z, Tensor dz, Tensor? residual, Tensor gamma, Tensor beta, int activation, float slope) "
      "-> Tensor");
  library.def(
      "abn_gradient(Tensor z, Tensor dz, Tensor? residual, Tensor means, Tensor moments, Tensor gamma, Tensor beta, "
      "float eps, int activation, float slope) -> (Tensor dx, Tensor dr)");
  library.def(
      "abn_train_gradient(Tensor z, Tensor dz, Tensor? residual, Tensor moments, Tensor gamma, Tensor beta, "
      "float eps, int activation, float slope) -> (Tensor dx, Tensor dr, Tensor sums)");
}
