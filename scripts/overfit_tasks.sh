#!/usr/bin/env bash
# Overfit eight real images in each task and score them at their original size: runs/overfit-TASK/evaluation.json.
# Usage: scripts/overfit_tasks.sh [COCO128_PANOPTIC [TASK…]]   (or `make overfit-tasks`)
set -euo pipefail

data=${1:-${COCO128_PANOPTIC:-../shared/data/coco128_panoptic}}
shift || true
tasks=("${@:-panoptic instance detection semantic}")
config=configs/coco128_overfit.yaml

if [ ! -d "$data/annotations" ]; then
    echo "$data is not a data set: pass a COCO panoptic folder, scripts/overfit_tasks.sh FOLDER" >&2
    exit 2
fi

for task in ${tasks[*]}; do
    run=runs/overfit-$task
    echo "== $task"
    bash scripts/train_once.sh "$config" "$data" "$run" task="$task"
    seamseg evaluate "$run" --data "$data" --split train --limit 8 --json "$run/evaluation.json" --sheet "$run/sheet.jpg"
done
