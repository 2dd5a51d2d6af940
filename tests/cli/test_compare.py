"""`seamseg compare`: the difference of two results and its interval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.panoptic_pairs import Side, listed, write_side

from seamseg.cli import main

IDS = np.array([[1, 1, 1, 1, 2, 2, 2, 2]] * 6)
BOTH, CAR = {1: 7, 2: 3}, {2: 3}


def scores(folder: Path, name: str, found: list[bool]) -> Path:
    """Score one image per entry of `found`, which says whether its sky is found, and return the scores file."""
    truth = [Side(IDS, listed(IDS, BOTH, set()))] * len(found)
    ids = [IDS if one else np.where(IDS == 2, 2, 0) for one in found]
    results = [Side(one, listed(one, BOTH, set())) for one in ids]
    true, predicted = write_side(folder, f"{name}-true", truth), write_side(folder, name, results, bare=True)
    out = folder / f"{name}-scores.json"
    assert main(["score", "--gt", str(true), "--pred", str(predicted), "--json", str(out)]) == 0
    return out


def compare(first: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["compare", str(first), str(second)]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_compare_clear_difference_names_the_better_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse, better = scores(tmp_path, "worse", [True] * 4 + [False] * 8), scores(tmp_path, "better", [True] * 12)
    out = compare(worse, better, capsys)
    assert "B is better than A" in out
    assert "│ A │ 75.00 │" in out  # the sky has a PQ of 4 / (4 + 8/2) and the car of 1
    assert "│ B │ 100.00 │ 100.00 … 100.00 │" in out
    assert "│ B − A │ 25.00 │" in out
    assert "sky: +50.0" in out
    assert "A is better than B" in compare(better, worse, capsys)


def test_compare_images_without_classes_report_nothing_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    void = np.zeros_like(IDS)
    side = [Side(void, listed(void, {}, set()))] * 2
    true, predicted = write_side(tmp_path, "true", side), write_side(tmp_path, "void", side, bare=True)
    out = tmp_path / "scores.json"
    assert main(["score", "--gt", str(true), "--pred", str(predicted), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["all"]["pq"] is None
    text = compare(out, out, capsys)
    assert "│ A │ - │ - … - │" in text
    assert "nothing to compare" in text


def test_compare_difference_in_one_image_may_be_due_to_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = scores(tmp_path, "one", [True] * 6), scores(tmp_path, "other", [True] * 5 + [False])
    assert "the difference may be due to chance" in compare(one, other, capsys)
    assert compare(one, other, capsys) == compare(one, other, capsys)


def test_compare_names_with_markup_are_printed_verbatim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [scores(tmp_path, "worse", [False] * 3), scores(tmp_path, "better", [True] * 3)]
    for file in files:
        content = json.loads(file.read_text())
        content["per_class"] = {f"[/{name}]:car:": line for name, line in content["per_class"].items()}
        file.write_text(json.dumps(content))
    assert "[/sky]:car:: +100.0" in compare(files[0], files[1], capsys)


def test_compare_several_runs_compares_their_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = scores(tmp_path, "good", [True] * 12), scores(tmp_path, "bad", [False] * 12)
    assert main(["compare", str(bad), str(good), "--with", str(good), str(good)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "│ A │ 75.00 │ 50.00 … 100.00 │" in out  # the images are alike, so the interval is over the two runs only
    assert "│ B │ 100.00 │ 100.00 … 100.00 │" in out
    assert "│ B − A │ 25.00 │ 0.00 … 50.00 │" in out
    assert "sky: +50.0" in out


def test_compare_three_files_without_with_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(scores(tmp_path, "one", [True] * 2))
    assert main(["compare", file, file, file]) == 2
    assert "--with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["images"].pop(), "different images: 1 are in only one of them"),
        (lambda content: content["per_class"].pop("sky"), "different classes"),
        (lambda content: content.pop("per_class"), "is not a scores file: the key 'per_class' is missing"),
        (lambda content: content.pop("images"), "the key 'images' is missing"),
        (lambda content: content["images"][0].pop("tp"), "is not a scores file"),
        (lambda content: content["images"][0]["classes"].__setitem__(0, 77), "is inconsistent"),
    ],
)
def test_compare_files_that_do_not_match_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: object, message: str
) -> None:
    first, second = scores(tmp_path, "one", [True] * 2), tmp_path / "second.json"
    content = json.loads(first.read_text())
    change(content)  # type: ignore[operator]
    second.write_text(json.dumps(content))
    assert main(["compare", str(first), str(second)]) == 2
    assert message in capsys.readouterr().err
