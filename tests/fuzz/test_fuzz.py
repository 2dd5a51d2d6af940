"""Part of `make fuzz`, and tests that it detects faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fuzz.__main__ as command
from fuzz import readers
from fuzz.cases import KINDS, make_case
from fuzz.run import Fuzz, Outcome, run
from fuzz.sanitized import SanitizedReader, build_reader
from fuzz.seeds import filtered_rows, id_maps, id_pngs
from fuzz.sets import Sets, write_sets
from seamseg.data.png import read_panoptic_png
from seamseg.errors import SeamsegError

SEED = 0


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return write_sets(tmp_path_factory.mktemp("fuzz") / "sets")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = build_reader(tmp_path_factory.mktemp("reader"))
    if program is None:
        pytest.skip("no g++ with sanitizers")
    return program


@pytest.mark.slow
def test_first_120_cases_have_no_faults(reader: Path) -> None:
    outcomes = list(run(Fuzz(SEED, reader), range(120), 1))
    assert sorted(outcome.number for outcome in outcomes) == list(range(120))
    assert [outcome for outcome in outcomes if outcome.faults] == []


def test_case_depends_only_on_its_seed_and_number(sets: Sets, tmp_path: Path) -> None:
    other = write_sets(tmp_path / "other")
    cases = [make_case(SEED, number, sets) for number in range(30)]
    assert [make_case(SEED, number, other) for number in range(30)] == cases
    assert {case.kind for case in cases} == set(KINDS)
    assert len({case.data for case in cases}) == 30
    assert make_case(SEED + 1, 0, sets) != cases[0]


def test_undamaged_id_pngs_are_read_correctly(reader: Path, tmp_path: Path) -> None:
    """Damaging invalid files would find nothing."""
    maps, sanitized = id_maps(), SanitizedReader(reader)
    for place, data in enumerate(id_pngs()):
        ids = maps[place] if place < len(maps) else maps[(place - len(maps)) // 4]
        path = tmp_path / f"{place}.png"
        path.write_bytes(data)
        assert (read_panoptic_png(path) == ids).all()
        assert sanitized.read(path) == f"{ids.shape[0]} {ids.shape[1]} {ids.sum()}"
    sanitized.close()
    assert len(set(filtered_rows(maps[0], [0, 1, 2, 3, 4])[:: 1 + 3 * maps[0].shape[1]])) == 5


def test_sanitized_reader_continues_after_rejections_and_restarts(reader: Path, tmp_path: Path) -> None:
    sanitized = SanitizedReader(reader)
    (tmp_path / "a.png").write_bytes(id_pngs()[0][:-40])
    assert sanitized.read(tmp_path / "a.png").startswith("refused: ")
    (tmp_path / "a.png").write_bytes(id_pngs()[0])
    assert not sanitized.read(tmp_path / "a.png").startswith("refused: ")
    assert sanitized._process is not None
    sanitized._process.kill()
    with pytest.raises(RuntimeError):
        sanitized.read(tmp_path / "a.png")
    assert not sanitized.read(tmp_path / "a.png").startswith("refused: ")
    sanitized.close()


FAULTY = """
import json, os, signal, sys, time
seed, reader, folder, *numbers = sys.argv[1:]
for number in map(int, numbers):
    print(json.dumps({"number": number}), flush=True)
    if number == 1: os.abort()
    if number == 2: time.sleep(600)
    if number == 4: signal.raise_signal(signal.SIGPROF)
    print(json.dumps({"number": number, "faults": ["wrong"] * (number == 3), "seconds": 0.1}), flush=True)
"""


def test_run_reports_crashes_and_hangs_and_finishes_other_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_worker.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcomes = {one.number: one for one in run(Fuzz(0, None, seconds=3, module="faulty_worker"), range(6), 2)}
    assert sorted(outcomes) == [0, 1, 2, 3, 4, 5]
    assert outcomes[0].faults == outcomes[5].faults == []
    assert outcomes[1].faults[0].startswith("crashes: the process exits with -6")
    assert outcomes[2].faults[0].startswith("hangs: takes more than 3 s")
    assert outcomes[3].faults == ["wrong"]
    assert outcomes[4].faults[0].startswith("hangs: computes")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (SeamsegError("{folder}/a.png is broken"), ""),
        (SeamsegError("it is broken"), "rejects it with SeamsegError, 'it is broken'"),
        (SeamsegError("{folder}/a.png is\nbroken"), "rejects it with SeamsegError"),
        (SeamsegError("{folder}/a.png is " + "x" * 2000), "rejects it with SeamsegError"),
        (ValueError("{folder}/a.png is broken"), "fails: "),
        (KeyError("{folder}/a.png"), "fails: "),
        (MemoryError(), "fails: "),
    ],
)
def test_fault_is_reported_unless_one_sentence_names_a_file(error: Exception, fault: str, tmp_path: Path) -> None:
    error.args = tuple(str(part).replace("{folder}", str(tmp_path)) for part in error.args)

    def read() -> Any:
        raise error

    found = readers._fault("reader", read, tmp_path)
    assert found.startswith(f"reader {fault}" if fault else "")
    assert bool(found) == bool(fault)
    assert readers._fault("reader", list, tmp_path) == ""


def test_report_keeps_the_file_of_a_failed_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], sets: Sets
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "build_reader", lambda folder: None)
    monkeypatch.setattr(command, "run", lambda fuzz, numbers, workers: iter([Outcome(7, ["it fails"], 2.0)]))
    assert command.main(["--first", "7", "--cases", "1"]) == 1
    case = make_case(SEED, 7, sets)
    kept = Path("runs/fuzz") / f"0-7-{case.name}"
    assert kept.read_bytes() == case.data
    out, err = capsys.readouterr()
    assert f"case 7 ({case.kind}, {kept}) it fails" in err
    assert out.splitlines()[-1] == "1 cases of seed 0: 1 failed; the slowest case, 7, took 2.0 s"
    monkeypatch.setattr(command, "run", lambda fuzz, numbers, workers: iter([Outcome(7, [], 2.0)]))
    assert command.main(["--cases", "1"]) == 0
