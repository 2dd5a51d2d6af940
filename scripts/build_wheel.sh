#!/usr/bin/env bash
# Build the source distribution and, from it, one wheel for all versions of Python and torch >= 2.10, in dist/.
# Usage: scripts/build_wheel.sh [--sdist | --cuda]   (or `make wheel`, `make sdist`, `make wheel-cuda`)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Without kernels for GPUs, the version is that of the project; with them, it names their CUDA version: 1.0.0+cu130.
export SEAMSEG_CUDA=0 SEAMSEG_LOCAL_VERSION=
case "${1:-}" in
    "" | --sdist) ;;
    --cuda)
        SEAMSEG_CUDA=1
        SEAMSEG_LOCAL_VERSION=$(python -c 'import torch; print("cu" + (torch.version.cuda or "").replace(".", ""))')
        ;;
    *)
        echo "unknown argument $1: the arguments are --sdist and --cuda" >&2
        exit 2
        ;;
esac

folder=build/wheel
rm -rf "$folder"
log=$(python -c "from setuptools.build_meta import build_sdist; print(build_sdist('$folder'))" 2>&1) || {
    echo "$log" >&2
    exit 1
}
sdist=${log##*$'\n'}
rm -rf seamseg.egg-info # otherwise, the checkout reports the version with +cu…
mkdir -p dist
[ -n "$SEAMSEG_LOCAL_VERSION" ] || cp "$folder/$sdist" dist/
if [ "${1:-}" = --sdist ]; then
    echo "dist/$sdist"
    exit
fi
python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir "$folder" "$folder/$sdist"
built=$(echo "$folder"/*.whl)

# auditwheel renames the wheel if its library loads on all systems of that name. The libraries of torch are found at run
# time, because torch loads them first.
if [ "$(uname -s)" != Linux ]; then
    cp "$built" dist/
    echo "dist/$(basename "$built")"
    exit
fi
audit() {
    python -m auditwheel repair --only-plat --plat "$1" --strip --exclude 'libtorch*' --exclude 'libc10*' \
        --wheel-dir "$folder/audited" "$built"
}
if ! audit "manylinux_2_28_$(uname -m)" > "$folder/audit.log" 2>&1; then
    tail -n 1 "$folder/audit.log" >&2
    echo "the wheel gets a tag for newer systems only: build on an older one, or see csrc/glibc.cpp" >&2
    audit auto > "$folder/audit.log" 2>&1 || { tail -n 1 "$folder/audit.log" >&2; exit 1; }
fi
cp "$folder"/audited/*.whl dist/
echo "dist/$(basename "$folder"/audited/*.whl)"
