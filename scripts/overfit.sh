#!/usr/bin/env bash
# Overfit eight real images and score them at their original size.
# Usage: scripts/overfit.sh [COCO128_PANOPTIC]   (or `make overfit`)
set -euo pipefail

data=${1:-${COCO128_PANOPTIC:-../shared/data/coco128_panoptic}}
run=runs/overfit
config=configs/coco128_overfit.yaml

if [ ! -d "$data/annotations" ]; then
    echo "$data is not a data set: pass a COCO panoptic folder, scripts/overfit.sh FOLDER" >&2
    exit 2
fi

bash scripts/train_once.sh "$config" "$data" "$run"

seamseg evaluate "$run" --data "$data" --split train --limit 8 --json "$run/evaluation.json" --sheet "$run/sheet.jpg"
python scripts/print_scores.py "$run/evaluation.json"
echo "pictures: $run/sheet.jpg"
