"""Record of a training run: log, pictures, checkpoints and best model."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from seamseg.algos.fusion import PanopticFusion
from seamseg.data.loader import BatchLoader
from seamseg.engine.analysis_pictures import analysis_pictures
from seamseg.engine.evaluate import evaluate, left_out
from seamseg.engine.gallery import SampleGallery, WorstGallery
from seamseg.engine.train import Trainer
from seamseg.errors import BrokenImageError
from seamseg.export.model_file import MODEL_FILE, SETTINGS_FILE, ModelFile, save_model
from seamseg.io.files import write_text
from seamseg.io.progress import Advance
from seamseg.metrics.analysis import NUM_WORST
from seamseg.metrics.scores import Scores, percent
from seamseg.networks import PanopticNet
from seamseg.runtime.checkpoint import add_checkpoint
from seamseg.runtime.distributed import Process
from seamseg.runtime.log import RunLog
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.structures import Categories
from seamseg.visualization.overlay import draw_overlay

Triple = tuple[float, float, float]


class TrainingRecorder:
    """Observer of a training run; rank 0 writes the files, all ranks score.

    Args:
        folder: Folder of the run.
        process: Distributed process of this rank.
        settings: Settings of the experiment, as YAML.
        categories: Classes of the data set.
        trainer: Trainer of the run.
        position: Progress at which the run starts or resumes.
        validation: Loader of this rank's share of the validation images.
        broken: List to which the validation loader appends errors of images that it cannot read.
        fusion: Fusion of detections and semantic logits.
        mean: Mean color that the images were normalized with.
        std: Standard deviation of the color that the images were normalized with.
        num_pictures: Number of validation images shown in TensorBoard.
        keep_checkpoints: Number of most recent checkpoints to keep, in addition to that of the best model.

    Attributes:
        advance: Function called with the iteration and a remark after every step; may be set to that of a progress bar.
    """

    def __init__(
        self,
        folder: Path,
        process: Process,
        settings: str,
        categories: Categories,
        trainer: Trainer,
        position: TrainingProgress,
        validation: BatchLoader,
        broken: list[BrokenImageError],
        fusion: PanopticFusion,
        mean: Triple,
        std: Triple,
        num_pictures: int,
        keep_checkpoints: int,
    ) -> None:
        self.folder, self.process, self.settings, self.categories = folder, process, settings, categories
        self.trainer, self.position, self.validation, self.fusion = trainer, position, validation, fusion
        self.broken, self._reported = broken, set[Path]()
        self.mean, self.std, self.num_pictures, self.keep_checkpoints = mean, std, num_pictures, keep_checkpoints
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

    def validate(self, network: PanopticNet, position: TrainingProgress) -> float:
        """Score the network, log scores and pictures, and save the best model; return the PQ in 0 … 1."""
        gallery = SampleGallery(self.categories, self.mean, self.std, self.num_pictures if self.process.is_first else 0)
        worst = WorstGallery(self.categories, self.mean, self.std, min(self.num_pictures, NUM_WORST))
        watchers = [gallery.add, worst.add]
        self.broken.clear()
        scores = evaluate(network, self.validation, self.fusion, self.categories, self.process.device, watchers)
        errors = left_out(self.broken, scores)
        worst.over_ranks()
        # PQ is NaN in a validation without any class; with 0, the run still ends with a model.
        quality = 0.0 if math.isnan(scores.all.pq) else scores.all.pq
        self._show(gallery, worst, scores, position.iteration)
        if self._log is not None:
            self._report_unreadable(errors)
            headline = _curves(scores) | {"num_unreadable": len(errors)}
            self._log.scalars("validation", position.iteration, headline)
            print(f"epoch {position.epoch}: {_summary_line(scores)}", file=sys.stderr)
            if quality > position.best_pq:
                model = ModelFile(self.settings, self.categories.to_list(), network.state_dict())
                save_model(self.folder / MODEL_FILE, model)
        return quality

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
            state = self.trainer.checkpoint(position, self.settings, self.categories)
            add_checkpoint(self.folder, state, self.keep_checkpoints)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _show(self, gallery: SampleGallery, worst: WorstGallery, scores: Scores, iteration: int) -> None:
        if self._log is None or self.num_pictures == 0:
            return
        for name, picture in analysis_pictures(scores.analysis).items():
            self._log.picture(f"analysis/{name}", iteration, picture)
        if worst.rows:
            self._log.picture("analysis/worst", iteration, worst.sheet())
        for row in gallery.rows:
            pictures = [
                draw_overlay(row.image, row.truth, self.categories, scores=False),
                draw_overlay(row.image, row.prediction, self.categories),
            ]
            self._log.picture(f"validation/{row.name}", iteration, np.concatenate(pictures))


def _curves(scores: Scores) -> dict[str, float]:
    """Return the scores that are logged as curves."""
    return {
        "pq": scores.all.pq,
        "pq_things": scores.things.pq,
        "pq_stuff": scores.stuff.pq,
        **{f"pq_{size}": quality.all.pq for size, quality in scores.analysis.by_size.items()},
        "sq": scores.all.sq,
        "rq": scores.all.rq,
        "miou": scores.miou,
        "miou_semantic": scores.miou_semantic,
        "box_ap": scores.box_ap,
        "mask_ap": scores.mask_ap,
    }


def _summary_line(scores: Scores) -> str:
    values = (scores.all.pq, scores.things.pq, scores.stuff.pq, scores.miou, scores.box_ap, scores.mask_ap)
    pq, things, stuff, miou, box_ap, mask_ap = map(percent, values)
    return f"PQ {pq} (things {things}, stuff {stuff}), mIoU {miou}, AP box {box_ap}, mask {mask_ap}"
