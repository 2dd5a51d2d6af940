#!/usr/bin/env bash
# Draw street scenes, train a small network on them, score it on held-out scenes, and segment those.
# Usage: scripts/demo.sh   (or `make demo`, which also installs what it needs)
set -euo pipefail

data=runs/demo-scenes
run=runs/demo
config=configs/scenes_r18.yaml

if [ ! -f "$data/annotations/panoptic_val.json" ]; then
    rm -rf "$data"
    seamseg make-scenes "$data" --train 360 --val 40 --size 192x384 --seed 0
fi

bash scripts/train_once.sh "$config" "$data" "$run"

seamseg evaluate "$run" --data "$data" --split val --json "$run/evaluation.json" --sheet "$run/sheet.jpg"
seamseg predict "$run" "$data/images/val" "$run/predictions" --overwrite

python scripts/print_scores.py "$run/evaluation.json"
echo "pictures:    $run/sheet.jpg and $run/predictions/overlay/"
echo "TensorBoard: tensorboard --logdir $run/tensorboard"
