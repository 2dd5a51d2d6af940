"""The commands of the pages on distributed training and interruptions, and of scripts/train.sbatch, mean something."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import get_args_parser

from seamseg.cli import parser
from seamseg.config import load_experiment, settings_file

ROOT = Path(__file__).resolve().parents[2]
TEXT, INTERRUPTIONS = ((ROOT / "docs" / name).read_text() for name in ("distributed.md", "interruptions.md"))
SBATCH = ROOT / "scripts" / "train.sbatch"


def commands_of(page: str) -> list[str]:
    return [line for block in re.findall(r"^```\n(.*?)^```$", page, re.M | re.S) for line in block.splitlines()]


COMMANDS = commands_of(TEXT)
COUNTS: Any = runpy.run_path(str(ROOT / "scripts" / "distributed_counts.py"))


def check_torchrun(arguments: list[str]) -> Any:
    """Whether torchrun and seamseg understand their parts of a command; the options of seamseg."""
    for_torchrun = get_args_parser().parse_args(arguments)
    assert (for_torchrun.module, for_torchrun.training_script) == (True, "seamseg")
    options = parser().parse_args(for_torchrun.training_script_args)
    if hasattr(options, "config"):
        load_experiment(settings_file(options.config), options.overrides)
    return for_torchrun


@pytest.mark.parametrize("command", [*COMMANDS, *commands_of(INTERRUPTIONS)])
def test_commands_of_the_pages(command: str) -> None:
    program, *arguments = shlex.split(command)
    subprocess.run(["bash", "-n", "-c", command], check=True)
    if program == "sbatch":
        script, *rest = arguments
        assert ROOT / script == SBATCH
        arguments = ["-m", "seamseg", "train", *rest]
    else:
        assert program == "torchrun"
    check_torchrun(arguments)


def test_there_are_commands_for_one_machine_many_and_slurm() -> None:
    assert len(COMMANDS) == 6
    assert [command.split()[0] for command in COMMANDS].count("sbatch") == 1
    assert any("--nnodes" in command for command in COMMANDS)
    assert ["--resume" in command.split() for command in commands_of(INTERRUPTIONS)] == [False, True]


def test_settings_and_files_of_the_page_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path = (ROOT / "docs" / target.partition("#")[0]).resolve()
        # Results are there once the benchmark has run.
        assert path.exists() or path.parent == ROOT / "benchmarks" / "results", target
    for override in (
        "norm.sync=active",
        "norm.heads=gn",
        "norm.name=bn",
        "loss.normalize=global",
        "optimizer.lr_batch=8",
    ):
        assert override.split("=")[0].split(".")[1] in TEXT
        load_experiment(settings_file("vistas_r50"), [override])


# The script for Slurm, with stand-ins for its programs.


def write_programs(folder: Path, srun: str) -> dict[str, str]:
    programs = {
        "srun": f'printf "%s\\n" "$@" > "{folder}/srun"\n{srun}',
        "scontrol": f'if [ "$1" = show ]; then printf "node01\\nnode02\\n"; else echo "$@" >> "{folder}/scontrol"; fi',
    }
    for name, body in programs.items():
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "123456",
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "node[01-02]",
        "SLURM_GPUS_ON_NODE": "4",
    }


ARGUMENTS = ["vistas_r50", "data.root=A FOLDER", "--run-dir", "runs/x"]


def test_the_job_starts_torchrun_on_every_machine(tmp_path: Path) -> None:
    environment = write_programs(tmp_path, "exit 0")
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    done = subprocess.run(["bash", str(SBATCH), *ARGUMENTS], env=environment, check=False)
    assert done.returncode == 0
    program, *arguments = (tmp_path / "srun").read_text().splitlines()
    assert program == "torchrun"
    options = check_torchrun(arguments)
    assert (options.nnodes, options.nproc_per_node, options.rdzv_backend) == ("2", "4", "c10d")
    assert options.rdzv_endpoint == "node01:23456"
    assert options.training_script_args == ["train", *ARGUMENTS, "--auto-resume"]
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize("code", [1, 2])
def test_the_job_ends_as_the_training_does(tmp_path: Path, code: int) -> None:
    environment = write_programs(tmp_path, f"exit {code}")
    assert subprocess.run(["bash", str(SBATCH), *ARGUMENTS], env=environment, check=False).returncode == code
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize(
    ("number", "ends", "queued", "code"),
    [
        (signal.SIGUSR1, 1, True, 0),  # saved, because the time is up
        (signal.SIGUSR1, 0, False, 0),  # finished in the last minute
        (signal.SIGTERM, 1, False, 1),  # canceled
    ],
)
def test_the_job_goes_back_into_the_queue_when_its_time_is_up(
    tmp_path: Path, number: signal.Signals, ends: int, queued: bool, code: int
) -> None:
    heard = (
        f"trap 'echo {number.name} > \"{tmp_path}/heard\"; sleep 0.5; exit {ends}' {number.name.removeprefix('SIG')}"
    )
    environment = write_programs(tmp_path, f"{heard}\ntouch {tmp_path}/ready\nfor i in $(seq 600); do sleep 0.1; done")
    job = subprocess.Popen(["bash", str(SBATCH), *ARGUMENTS], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(number)
    assert job.wait(timeout=60) == code
    assert (tmp_path / "heard").read_text().strip() == number.name
    assert (tmp_path / "scontrol").exists() == queued
    if queued:
        assert (tmp_path / "scontrol").read_text() == "requeue 123456\n"


def test_the_numbers_are_those_of_the_results() -> None:
    if not COUNTS["RESULTS"].exists():
        pytest.skip("make bench-distributed has not been run")
    assert COUNTS["page"](TEXT, json.loads(COUNTS["RESULTS"].read_text())) == TEXT, "run scripts/distributed_counts.py"


def test_how_numbers_are_written() -> None:
    def row(slug: str, ours: float, peer: float, measure: str = "m (assumptions), bound by rope; p") -> dict[str, Any]:
        return {"slug": slug, "ours": ours, "peer": peer, "ratio": ours / max(peer, 1), "measure": measure}

    rows = [
        row("collectives-norms-masked-2-of-2", 200, 202),
        row("bytes-norms-masked-2-of-2", 2469, 3000),
        row("collectives-exchange-masked-2-of-2", 2, 0.0),
        row("bytes-exchange-masked-2-of-2", 0.032, 0.0),
        row("step-beside-one", 3, 2),
        row("step-beside-apart", 5, 4),
        row("model-8", 1.25, 2),
        row("model-16", 2.5, 4),
    ]
    block = COUNTS["counts"]({"rows": rows})
    assert "| synchronized norms | 100; 1,234.5 kB | – | 101; 1,500.0 kB |" in block
    assert "| who has regions | 1; 16 B | – | – |" in block
    assert "1.50 times the step" in block
    assert "1.25 times that of two" in block
    assert "(assumptions)" in block
    assert "| ms per step | 1.2 | 2.5 |" in block
    assert "| bound by | rope | rope |" in block
