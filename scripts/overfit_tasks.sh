#!/usr/bin/env bash
# Overfit eight real images in each task and score them at their original size: runs/overfit-TASK/evaluation.json.
# Usage: scripts/overfit_tasks.sh [COCO128_PANOPTIC] [TASK…] [KEY=VALUE…]   (or `make overfit-tasks ARGS="…"`)
set -euo pipefail

data=${COCO128_PANOPTIC:-../shared/data/coco128_panoptic}
config=configs/coco128_overfit.yaml
tasks=() overrides=()
for argument in "$@"; do
    case $argument in
        panoptic | instance | detection | semantic) tasks+=("$argument") ;;
        *=*) overrides+=("$argument") ;;
        *) data=$argument ;;
    esac
done

if [ ! -d "$data/annotations" ]; then
    echo "$data is not a data set: pass a COCO panoptic folder, scripts/overfit_tasks.sh FOLDER" >&2
    exit 2
fi

if [ ${#tasks[@]} -eq 0 ]; then
    tasks=(panoptic instance detection semantic)
fi
for task in "${tasks[@]}"; do
    run=runs/overfit-$task
    echo "== $task"
    bash scripts/train_once.sh "$config" "$data" "$run" task="$task" ${overrides[@]+"${overrides[@]}"}
    seamseg evaluate "$run" --data "$data" --split train --limit 8 --json "$run/evaluation.json" --sheet "$run/sheet.jpg"
done
