#!/usr/bin/env bash
# Installs panopticapi-lite 0.2.0, a peer of `make bench-score`, into an environment. It asks for a numpy older than 2
# but computes the same with newer ones, so it comes without what it asks for.
# Usage: benchmarks/panopticapi.sh VENV
set -euo pipefail

pip=("$1/bin/python" -m pip --quiet --quiet --disable-pip-version-check)
"$1/bin/python" -c 'import panopticapi.evaluation' 2> /dev/null || "${pip[@]}" install --no-deps panopticapi-lite==0.2.0
