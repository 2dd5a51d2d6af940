"""The root of all settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import model_validator

from seamseg.config.data import DataSettings
from seamseg.config.heads import (
    FusionSettings,
    LossSettings,
    LossWeights,
    ProposalSettings,
    RegionSettings,
    SemanticSettings,
)
from seamseg.config.network import (
    BodySettings,
    NormSettings,
    PyramidSettings,
    check_body,
    check_compile,
    check_norm,
    check_whole_compile,
)
from seamseg.config.settings import FilePath, Settings
from seamseg.config.training import Optimizer, PolySchedule, Schedule, SegmentationTrainingSettings, SGDSettings


@dataclass(frozen=True)
class _Option:
    """Option of a head that is off by default and has no effect on networks without this head.

    Attributes:
        section, field: Where the setting is.
        off: Value that turns it off.
        effect: What it does to a kind of results.
        tasks: Tasks with such results.
    """

    section: str
    field: str
    off: Any
    effect: str
    tasks: tuple[str, ...]

    def check(self, experiment: Experiment) -> None:
        """Raise a ``ValueError`` if the option is on, but the task has no such results."""
        if experiment.task in self.tasks or getattr(getattr(experiment, self.section), self.field) == self.off:
            return
        key, off = f"{self.section}.{self.field}", json.dumps(self.off).strip('"')
        *first, last = self.tasks
        raise ValueError(
            f"{key} {self.effect}, which task={experiment.task} does not predict; set task={', '.join(first)} or "
            f"{last}, or {key}={off}"
        )


_OBJECTS = ("panoptic", "instance", "detection")
_MASKS = ("panoptic", "instance")
_PIXELS = ("panoptic", "semantic")
_OPTIONS = (
    _Option("roi", "mask_scoring", False, "scores the masks of objects", _MASKS),
    _Option("roi", "mask_head", "conv", "refines the masks of objects", _MASKS),
    _Option("roi", "cascade", None, "refines the boxes of objects", _OBJECTS),
    _Option("roi", "box_head", "fc2", "predicts the classes and boxes of objects", _OBJECTS),
    _Option("roi", "box_loss", "smooth_l1", "compares the boxes of objects", _OBJECTS),
    _Option("rpn", "box_loss", "smooth_l1", "compares the boxes of objects", _OBJECTS),
    _Option("rpn", "border_anchors", False, "proposes boxes of objects", _OBJECTS),
    _Option("roi", "focal_gamma", 0, "weighs the classes of objects", _OBJECTS),
    _Option("sem", "focal_gamma", 0, "weighs the classes of pixels", _PIXELS),
)


class Experiment(Settings):
    """All settings of an experiment: data, network and training. The defaults are the published values."""

    task: Literal["panoptic", "instance", "detection", "semantic"] = "panoptic"
    """What the network predicts. `panoptic`: segments with a class, and the instances of things. `instance`: boxes and
    masks of things. `detection`: boxes of things. `semantic`: the class of every pixel, things included. Settings and
    loss weights of heads that a network does not have are not used: `sem` for instances and detection,
    `roi.mask_channels` for detection, and `rpn`, `roi`, `fusion` and `fpn.extra_levels` for `semantic`. Options of such
    heads that are off by default, such as `roi.cascade`, are refused."""

    init_from: tuple[FilePath, ...] = ()
    """Trained models whose weights the network starts from, each as `MODEL` or `MODEL:PART,PART…`, such as
    `runs/vistas:body,rpn_head`. A model is a run folder, a model folder or file, or a published model; later ones
    overwrite earlier ones and `body.weights`. Weights are used where name and shape fit, and rows of the output layers
    by class name; the rest stays as initialized. `--init-from` of `seamseg train` sets this list."""

    data: DataSettings = DataSettings()
    norm: NormSettings = NormSettings()
    body: BodySettings = BodySettings()
    fpn: PyramidSettings = PyramidSettings()
    rpn: ProposalSettings = ProposalSettings()
    roi: RegionSettings = RegionSettings()
    sem: SemanticSettings = SemanticSettings()
    fusion: FusionSettings = FusionSettings()
    loss: LossSettings = LossSettings()
    loss_weights: LossWeights = LossWeights()
    optimizer: Optimizer = SGDSettings()
    schedule: Schedule = PolySchedule()
    training: SegmentationTrainingSettings = SegmentationTrainingSettings()

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if self.sem.head == "deeplab" and self.task != "semantic":
            raise ValueError(
                f"sem.head=deeplab has no feature pyramid, which task={self.task} requires; set task=semantic, or "
                "sem.head=mini_deeplab"
            )
        for option in _OPTIONS:
            option.check(self)
        check_body(self.body, self.norm, self.init_from)
        check_compile(self.body, self.norm, self.training.memory)
        check_whole_compile(self.norm, self.training.compile, self.training.memory)
        check_norm(self.norm, self.training.precision)
        return self
