#!/usr/bin/env bash
# Builds inplace-abn 1.1.0, a peer of `make bench-abn`, and installs it into an environment that has torch.
# Usage: benchmarks/inplace_abn.sh VENV   (five minutes; needs a CUDA toolkit as new as torch's, though no GPU)
set -euo pipefail

venv=$(realpath "$1")
python=$venv/bin/python
pip=("$python" -m pip --quiet --quiet --disable-pip-version-check)

if "$python" -c 'import torch, inplace_abn' 2> /dev/null; then
    exit 0
fi

# A wrapper may stand on the PATH, so the compiler itself says where its toolkit is.
command -v nvcc > /dev/null || { echo "inplace-abn builds only with a CUDA toolkit, and nvcc is not on the PATH" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/empty.cu"
CUDA_HOME=$(realpath "$(nvcc --dryrun "$work/empty.cu" 2>&1 | sed -n 's/^#\$ TOP=//p')")

echo "building inplace-abn (five minutes, once)"
# Its setup script needs old build tools, which must not replace the environment's own.
"${pip[@]}" install --target "$work/tools" 'setuptools<81' 'setuptools-scm<9' wheel
log=build/inplace-abn.log
mkdir -p build
# A cached wheel may be of another torch.
if ! CUDA_HOME=$CUDA_HOME TORCH_CUDA_ARCH_LIST=8.0 PYTHONPATH=$work/tools PATH=$venv/bin:$PATH \
    "$python" -m pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir "$work" inplace-abn==1.1.0 \
    > "$log" 2>&1; then
    echo "inplace-abn cannot be built here; $log ends with" >&2
    tail -n 5 "$log" >&2
    exit 1
fi
"${pip[@]}" install --no-deps "$work"/inplace_abn-*.whl
"$python" -c 'import torch, inplace_abn'
