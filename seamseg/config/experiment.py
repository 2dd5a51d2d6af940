"""The root of all settings."""

from __future__ import annotations

from typing import Literal

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


class Experiment(Settings):
    """All settings of an experiment: data, network and training. The defaults are the published values."""

    task: Literal["panoptic", "instance", "detection", "semantic"] = "panoptic"
    """What the network predicts. `panoptic`: segments with a class, and the instances of things. `instance`: boxes and
    masks of things. `detection`: boxes of things. `semantic`: the class of every pixel, things included. Settings and
    loss weights of heads that a network does not have are not used: `sem` for instances and detection,
    `roi.mask_channels` for detection, and `rpn`, `roi`, `fusion` and `fpn.extra_levels` for `semantic`."""

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
        if self.roi.mask_scoring and self.task in ("detection", "semantic"):
            raise ValueError(
                f"roi.mask_scoring=true scores the masks of objects, which task={self.task} does not predict; set "
                "task=panoptic or instance, or roi.mask_scoring=false"
            )
        if self.roi.mask_head == "pointrend" and self.task in ("detection", "semantic"):
            raise ValueError(
                f"roi.mask_head=pointrend refines the masks of objects, which task={self.task} does not predict; set "
                "task=panoptic or instance, or roi.mask_head=conv"
            )
        check_body(self.body, self.norm, self.init_from)
        check_compile(self.body, self.norm, self.training.memory)
        check_whole_compile(self.norm, self.training.compile, self.training.memory)
        check_norm(self.norm, self.training.precision)
        return self
