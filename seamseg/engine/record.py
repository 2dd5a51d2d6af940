"""What a training run leaves behind: log, pictures, checkpoints, and the best model."""

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
    """Watches a training run; rank 0 writes, all ranks score.

    Args:
        folder: of the run.
        process: this rank.
        settings: of the experiment, as YAML.
        categories: of the data set.
        trainer: of the run.
        position: where it begins or goes on.
        validation: this rank's share of the images to score.
        broken: Receives what the loader of the validation cannot read.
        fusion: of detections and semantics.
        mean, std: that the images were normalized with.
        num_pictures: validation images shown in TensorBoard.
        keep_checkpoints: how many of the latest checkpoints stay, beside that of the best model.

    Attributes:
        advance: is told the iteration and a remark; may be set to that of a progress bar.
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
        self.broken, self._told = broken, set[Path]()
        self.mean, self.std, self.num_pictures, self.keep_checkpoints = mean, std, num_pictures, keep_checkpoints
        self.advance: Advance = lambda done, remark: None
        self._log = self._begin() if process.is_first else None
        self._remark = ""

    def _begin(self) -> RunLog:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / SETTINGS_FILE, self.settings)
        return RunLog(self.folder, self.position.iteration, validated=not self.position.within_epoch)

    def on_step_end(self, position: TrainingProgress) -> None:
        self.advance(position.iteration, f"epoch {position.epoch + 1} {self._remark}")

    def on_log(self, iteration: int, losses: dict[str, float], rate: float) -> None:
        self._remark = f"loss {losses['total']:.3f}"
        if self._log is not None:
            self._log.scalars("train", iteration, {**losses, "lr": rate})

    def validate(self, network: PanopticNet, position: TrainingProgress) -> float:
        album = SampleGallery(self.categories, self.mean, self.std, self.num_pictures if self.process.is_first else 0)
        worst = WorstGallery(self.categories, self.mean, self.std, min(self.num_pictures, NUM_WORST))
        watchers = [album.add, worst.add]
        self.broken.clear()
        scores = evaluate(network, self.validation, self.fusion, self.categories, self.process.device, watchers)
        errors = left_out(self.broken, scores)
        worst.over_ranks()
        # A validation without any class must not keep the run from ending with a model.
        quality = 0.0 if math.isnan(scores.all.pq) else scores.all.pq
        self._show(album, worst, scores, position.iteration)
        if self._log is not None:
            self._tell(errors)
            headline = _headline(scores) | {"num_unreadable": len(errors)}
            self._log.scalars("validation", position.iteration, headline)
            print(f"epoch {position.epoch}: {_sentence(scores)}", file=sys.stderr)
            if quality > position.best_pq:
                model = ModelFile(self.settings, self.categories.to_list(), network.state_dict())
                save_model(self.folder / MODEL_FILE, model)
        return quality

    def _tell(self, errors: list[BrokenImageError]) -> None:
        """Prints each unreadable file once per run, not after every epoch."""
        for error in errors:
            if error.path not in self._told:
                print(f"left out of the validation: {error}", file=sys.stderr)
        self._told |= {error.path for error in errors}

    def save(self, position: TrainingProgress) -> None:
        if self._log is not None:
            self._log.to_disk()
            state = self.trainer.checkpoint(position, self.settings, self.categories)
            add_checkpoint(self.folder, state, self.keep_checkpoints)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _show(self, album: SampleGallery, worst: WorstGallery, scores: Scores, iteration: int) -> None:
        if self._log is None or self.num_pictures == 0:
            return
        for name, picture in analysis_pictures(scores.analysis).items():
            self._log.picture(f"analysis/{name}", iteration, picture)
        if worst.rows:
            self._log.picture("analysis/worst", iteration, worst.sheet())
        for row in album.rows:
            pictures = [
                draw_overlay(row.image, row.truth, self.categories, scores=False),
                draw_overlay(row.image, row.prediction, self.categories),
            ]
            self._log.picture(f"validation/{row.name}", iteration, np.concatenate(pictures))


def _headline(scores: Scores) -> dict[str, float]:
    """The numbers worth a curve."""
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


def _sentence(scores: Scores) -> str:
    values = (scores.all.pq, scores.things.pq, scores.stuff.pq, scores.miou, scores.box_ap, scores.mask_ap)
    pq, things, stuff, miou, box_ap, mask_ap = map(percent, values)
    return f"PQ {pq} (things {things}, stuff {stuff}), mIoU {miou}, AP box {box_ap}, mask {mask_ap}"
