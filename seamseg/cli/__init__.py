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
    "evaluate": "score a model on annotated images",
    "predict": "segment images or a video",
    "report": "write pages to look at predictions with",
    "score": "score files of panoptic results, of any program",
    "compare": "compare the scores of two results on the same images",
    "submit": "turn predictions into what a benchmark server takes",
    "check": "look for faults in a data set before training on it",
    "convert": "turn other data sets into COCO panoptic, and that into detection or semantic annotation",
    "make-scenes": "write a synthetic street-scene data set",
    "import-model": "turn a published seamseg model into a model folder",
    "export-model": "write a model as a folder to hand on or to upload",
    "export-onnx": "write a network as an ONNX file",
    "export-torch": "write a network as an exported program of PyTorch",
    "env": "print versions, machine and build, for a bug report",
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
        description="Panoptic segmentation: train a network, score it, and use it on images.",
        epilog="`seamseg SUBCOMMAND --help` explains a subcommand. Errors of the user end with exit code 2.",
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
    """The options of a command line; one that is wrong ends the program with exit code 2.

    Settings may stand anywhere after the subcommand, which argparse itself does not allow. A ``~`` at the beginning
    of a path is the home folder.
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
    """Run a command and return its exit code: 0 done, 2 a mistake of the user, 128 + the signal that ended it.

    A mistake of the user is a :class:`~seamseg.errors.SeamsegError` or an :class:`OSError`; it is printed as one
    sentence, unless ``SEAMSEG_TRACEBACK=1`` asks for its traceback. Any other exception is a bug and is raised.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path that is not UTF-8 must not end a command
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
    """Runs a command; warnings about its data are sentences, said by the first of several processes."""
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
        # What could not be renamed is a temporary file; its user knows the name it should have got.
        return f"{error.filename2 or error.filename}: {error.strerror}"
    return str(error)
