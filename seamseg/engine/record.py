"""Record of a training run: log, pictures, checkpoints and best model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch import nn

from seamseg.engine.train import Trainer
from seamseg.engine.validation import Validation
from seamseg.errors import BrokenImageError
from seamseg.export.model_file import MODEL_FILE, SETTINGS_FILE, ModelFile, save_model
from seamseg.io.files import write_text
from seamseg.io.progress import Advance
from seamseg.runtime.checkpoint import add_checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.log import RunLog
from seamseg.runtime.training_progress import TrainingProgress


class TrainingRecorder:
    """Observer of a training run; rank 0 writes the files, all ranks score.

    Args:
        folder: Folder of the run.
        process: Distributed process of this rank.
        settings: Settings of the experiment, as YAML.
        classes: Classes of the data set as plain values, as model files and checkpoints hold them.
        trainer: Trainer of the run.
        position: Progress at which the run starts or resumes.
        validation: Scoring of the network.
        keep_checkpoints: Number of most recent checkpoints to keep, in addition to that of the best model.

    Attributes:
        advance: Function called with the iteration and a remark after every step; may be set to that of a progress bar.
    """

    def __init__(
        self,
        folder: Path,
        process: Process,
        settings: str,
        classes: list[dict[str, Any]],
        trainer: Trainer,
        position: TrainingProgress,
        validation: Validation,
        keep_checkpoints: int,
    ) -> None:
        self.folder, self.process, self.settings, self.classes = folder, process, settings, classes
        self.trainer, self.position, self.validation = trainer, position, validation
        self.keep_checkpoints, self._reported = keep_checkpoints, set[Path]()
        self.advance: Advance = lambda done, remark: None
        self._log = self._open_log() if process.is_first else None
        self._remark = ""

    def _open_log(self) -> RunLog:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / SETTINGS_FILE, self.settings)
        return RunLog(self.folder, self.position.iteration, validated=not self.position.within_epoch)

    def on_step_end(self, position: TrainingProgress) -> None:
        """Advance the progress bar."""
        self.advance(position.iteration, f"epoch {position.epoch + 1} {self._remark}")

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        """Log the losses and the learning rate."""
        self._remark = f"loss {losses['total']:.3f}"
        if self._log is not None:
            self._log.scalars("train", iteration, {**losses, "lr": rate})

    def validate(self, network: nn.Module, position: TrainingProgress) -> float:
        """Score the network, log scores and pictures, and save the best model; return its quality in 0 … 1."""
        outcome = self.validation(network)
        if self._log is not None:
            for name, picture in outcome.pictures().items():
                self._log.picture(name, position.iteration, picture)
            self._report_unreadable(outcome.broken)
            headline = outcome.curves | {"num_unreadable": len(outcome.broken)}
            self._log.scalars("validation", position.iteration, headline)
            print(f"epoch {position.epoch}: {outcome.summary}", file=sys.stderr)
            if outcome.quality > position.best_quality:
                save_model(self.folder / MODEL_FILE, ModelFile(self.settings, self.classes, network.state_dict()))
        return outcome.quality

    def _report_unreadable(self, errors: list[BrokenImageError]) -> None:
        """Print each unreadable file once per run instead of after every epoch."""
        for error in errors:
            if error.path not in self._reported:
                print(f"skipped in the validation: {error}", file=sys.stderr)
        self._reported |= {error.path for error in errors}

    def save(self, position: TrainingProgress) -> None:
        """Write a checkpoint."""
        if self._log is not None:
            self._log.to_disk()
            state = self.trainer.checkpoint(position, self.settings, self.classes)
            add_checkpoint(self.folder, state, self.keep_checkpoints)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
