"""The command in two processes, as torchrun starts them: only rank 0 writes files and prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_processes import in_two_processes, run
from support.folder_files import visible_files
from support.tiny_experiment import write_tiny_config, write_tiny_splits

from seamseg.runtime.log import read_metrics

OVERRIDES = ("norm.name=syncbn", "training.epochs=1", "data.train_batch_size=1", "fusion.score_threshold=0.1")


@pytest.mark.slow
def test_two_processes_only_rank_0_writes_and_prints(tmp_path: Path) -> None:
    data = write_tiny_splits(tmp_path / "data", num_val=3)
    config = write_tiny_config(tmp_path / "tiny.yaml", data, *OVERRIDES)
    runs = [tmp_path / "run0", tmp_path / "run1"]
    output = in_two_processes(tmp_path, [["train", str(config), "--run-dir", str(folder)] for folder in runs])
    assert {"config.yaml", "metrics.jsonl", "model.safetensors"} <= {path.name for path in runs[0].iterdir()}
    assert output[0][1].count("epoch 1: PQ ") == output[0][1].count("seed 0; settings") == 1
    assert not runs[1].exists()
    assert output[1] == ("", "")
    kinds = [(entry["kind"], entry["iteration"]) for entry in read_metrics(runs[0])]
    assert kinds == [("train", 1), ("train", 2), ("validation", 2)], "four images, one per process and step"
    assert len(list((runs[0] / "tensorboard").iterdir())) == 1

    scores = [tmp_path / "scores0.json", tmp_path / "scores1.json", tmp_path / "alone.json"]
    command = ["evaluate", str(runs[0]), "--data", str(data), "--split", "val", "--json"]
    output = in_two_processes(tmp_path, [[*command, str(path)] for path in scores[:2]])
    assert "PQ" in output[0][0]
    assert output[1] == ("", "")
    assert not scores[1].exists()
    run(*command, scores[2], "--device", "cpu")
    first, alone = (json.loads(path.read_text()) for path in (scores[0], scores[2]))
    assert first == alone, "bitwise equal"
    validated = read_metrics(runs[0])[-1]
    expected = {name: alone[name] for name in ("miou", "miou_semantic", "box_ap", "mask_ap")}
    expected |= {f"pq_{part}": alone[part]["pq"] for part in ("things", "stuff")}
    expected |= {name: alone["all"][name] for name in ("pq", "sq", "rq")}
    assert {name: validated[name] for name in expected} == expected, "two processes in training, one in evaluation"

    images = next((data / "images").glob("val*"))
    next(path for path in sorted(images.iterdir())).with_name("zz.png").write_bytes(b"broken")
    options = ["predict", str(runs[0]), str(images)]
    kinds = ["--write=panoptic,instances,overlay"]
    output = in_two_processes(tmp_path, [[*options, str(tmp_path / "together"), *kinds]] * 2, code=3)
    assert output[0][0] == f"3 images segmented: {tmp_path / 'together'}\n"
    assert output[1][0] == ""
    run(*options, tmp_path / "alone", *kinds, "--device", "cpu", code=3)
    assert visible_files(tmp_path / "together") == visible_files(tmp_path / "alone")

    sorted(images.iterdir())[0].write_bytes(b"broken")
    output = in_two_processes(tmp_path, [[*command, str(path)] for path in scores[:2]], code=3)
    assert output[0][1].count("skipped: ") == output[0][1].count("1 image could not be read") == 1
    assert output[1] == ("", "")
    (unreadable,) = json.loads(scores[0].read_text())["unreadable"]
    assert (data / unreadable["file_name"]).read_bytes() == b"broken"
    assert not scores[1].exists()
