#!/usr/bin/env bash
# Train a config into a run folder. An interrupted run is resumed, and a finished one is not changed.
# Usage: scripts/train_once.sh CONFIG DATASET RUN_DIR [KEY=VALUE…]
set -euo pipefail
config=$1 data=$2 run=$3
shift 3

if [ -f "$run/finished" ]; then
    echo "$run is already trained; remove the folder to train again"
    exit 0
fi
seamseg train "$config" data.root="$data" "$@" --run-dir "$run" --auto-resume
touch "$run/finished"
