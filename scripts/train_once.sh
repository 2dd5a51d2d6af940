#!/usr/bin/env bash
# Trains a configuration into a run folder, goes on with a run that was interrupted, and leaves a finished one alone.
# Usage: scripts/train_once.sh CONFIG DATASET RUN_DIR
set -euo pipefail
config=$1 data=$2 run=$3

if [ -f "$run/finished" ]; then
    echo "$run is trained already; remove the folder to train again"
    exit 0
fi
seamseg train "$config" data.root="$data" --run-dir "$run" --auto-resume
touch "$run/finished"
