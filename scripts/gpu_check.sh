#!/usr/bin/env bash
# Check a machine with one GPU in at most eight minutes: build the native library with CUDA, run the tests that need a GPU,
# and compare norm and network with BatchNorm; the rows are written to benchmarks/results/gpu.json.
# Usage: scripts/gpu_check.sh [ARGUMENT OF benchmarks.gpu ...]   (or `make gpu-check`)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The architecture of the GPU, such as 9.0. Kernels for only this one take a fraction of the build time.
ask='import sys, torch; torch.cuda.is_available() or sys.exit(1); print("{}.{}".format(*torch.cuda.get_device_capability()))'
if ! architecture=$(python -c "$ask"); then
    echo "there is no GPU that torch can use: run this on a machine with one" >&2
    exit 2
fi

failed=()

# step NAME SECONDS COMMAND...: run a command with a time limit; the next one runs even if it fails.
step() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    echo "=== $name, at most $limit s"
    timeout --kill-after=5 "$limit" "$@" || status=$?
    case $status in
        0) echo "=== $name passed after $((SECONDS - start)) s" ;;
        124 | 137) echo "=== $name was stopped after $limit s" && failed+=("$name") ;;
        *) echo "=== $name failed after $((SECONDS - start)) s" && failed+=("$name") ;;
    esac
}

build() {
    step "native library" 160 env SEAMSEG_CUDA=1 TORCH_CUDA_ARCH_LIST="$architecture" python setup.py --quiet build_ext --inplace
}

# Collecting only these files saves the imports of all others.
gpu_tests() {
    local files
    mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.cuda' tests)
    step "tests" 100 python -m pytest -q -p no:cacheprovider -m cuda --timeout 60 "${files[@]}"
}

build
gpu_tests
step "benchmarks" 175 python -m benchmarks.gpu "$@"

if [ ${#failed[@]} -gt 0 ]; then
    printf -v names '%s, ' "${failed[@]}"
    echo "failed: ${names%, }" >&2
    exit 1
fi
echo "everything passed"
