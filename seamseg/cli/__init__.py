"""The ``seamseg`` command: one file per subcommand."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TextIO

from seamseg import __version__
from seamseg.cli.output import INTERRUPTED, USER_ERROR
from seamseg.errors import SeamsegError
from seamseg.io.files import expand_home

SUBCOMMANDS = {
    "train": "train a network",
    "train-classifier": "train a classification network",
    "test-classifier": "score a classification network on an image folder",
    "evaluate": "score a model on annotated images",
    "predict": "segment images or a video, or detect objects in them",
    "rank": "order images by expected error, to label the worst first",
    "report": "write an HTML report of predictions",
    "score": "score results of any program",
    "compare": "compare two results on the same images",
    "submit": "package predictions for a benchmark server",
    "check": "check a data set for errors before training on it",
    "convert": "convert data sets to COCO panoptic, or from it to detection or semantic annotation",
    "make-scenes": "write a synthetic street-scene data set",
    "import-model": "convert a published model to a model folder",
    "export-model": "write a model as a folder to share or upload",
    "export-onnx": "export a network to ONNX",
    "export-torch": "export a network as a PyTorch exported program (.pt2)",
    "memory": "measure the memory of a training step",
    "env": "print versions and machine details for a bug report",
}
"""Name and help line of each subcommand, so that listing them does not import their modules."""


def parser(subcommand: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of the command.

    Args:
        subcommand: Name of the only subcommand whose arguments are added; the others have just a help line, so that
            their modules are not imported, which takes seconds. None adds the arguments of all subcommands.
    """
    command = argparse.ArgumentParser(
        prog="seamseg",
        description="Train, evaluate and run panoptic segmentation networks.",
        epilog="Run `seamseg SUBCOMMAND --help` for help on a subcommand. Usage and input errors exit with code 2.",
    )
    command.add_argument("--version", action="version", version=f"seamseg {__version__}")
    subcommands = command.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name, help_line in SUBCOMMANDS.items():
        if subcommand in (None, name):
            import_module(f"seamseg.cli.{name.replace('-', '_')}").add_parser(subcommands)
        else:
            subcommands.add_parser(name, help=help_line)
    return command


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; an invalid one ends the program with exit code 2.

    ``KEY=VALUE`` settings may appear anywhere after the subcommand, which argparse does not support. A leading ``~``
    in a path is expanded to the home folder.

    Args:
        arguments: Command line without the program name; None means ``sys.argv[1:]``.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    command = parser(next((word for word in arguments if not word.startswith("-")), ""))
    options, rest = command.parse_known_args(arguments)
    strange = [word for word in rest if word.startswith("-") or "=" not in word or not hasattr(options, "overrides")]
    if strange:
        command.error(f"unrecognized arguments: {' '.join(strange)}")
    if rest:
        options.overrides += rest
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, expand_home(value))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code.

    User errors (:class:`~seamseg.errors.SeamsegError`, :class:`OSError` and :class:`FloatingPointError`) and crashed
    data workers are printed as one sentence; set ``SEAMSEG_TRACEBACK=1`` to get the traceback instead. Any other
    exception is a bug and is raised.

    Args:
        arguments: Command line without the program name; None means ``sys.argv[1:]``.

    Returns:
        0 on success, 2 after a user error, 128 plus the signal number if a signal stopped the command, or another
        code that the subcommand documents.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path that is not UTF-8 must not crash a command
    options = parse(arguments)
    try:
        return _run(options)
    except (SeamsegError, OSError, FloatingPointError, RuntimeError) as error:
        sentence = _worker_fault(error) if isinstance(error, RuntimeError) else _sentence(error)
        if sentence is None or os.environ.get("SEAMSEG_TRACEBACK") == "1":
            raise
        print(f"seamseg: {sentence}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("seamseg: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    """Run a subcommand; data warnings become one-line messages, printed by rank 0 only."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            from seamseg.data.formats.coco import DataWarning

            if not issubclass(category, DataWarning):
                show(message, category, filename, lineno, file, line)
            elif os.environ.get("RANK", "0") == "0":
                print(f"seamseg: warning: {message}", file=sys.stderr)

        warnings.showwarning = say
        exit_code: int = options.run(options)
    return exit_code


def _worker_fault(error: RuntimeError) -> str | None:
    from seamseg.data.worker_faults import worker_fault

    return worker_fault(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        # After a failed rename, filename is a temporary file; users know filename2, its final name.
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return str(error)
