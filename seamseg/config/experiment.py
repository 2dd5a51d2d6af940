"""All settings of a run."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationInfo, field_validator, model_validator

from seamseg.config.data import DataSettings
from seamseg.config.heads import (
    FusionSettings,
    LossSettings,
    LossWeights,
    ProposalSettings,
    RegionSettings,
    SemanticSettings,
)
from seamseg.config.network import BodySettings, NormSettings, PyramidSettings
from seamseg.config.settings import Settings
from seamseg.config.training import Optimizer, PolySchedule, Schedule, SGDSettings, TrainingSettings


class Experiment(Settings):
    """One experiment: data, network, training. The defaults are the published system's."""

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
    training: TrainingSettings = TrainingSettings()

    @field_validator("schedule", "optimizer", mode="before")
    @classmethod
    def _default_alternative(cls, value: Any, info: ValidationInfo) -> Any:
        default = PolySchedule().name if info.field_name == "schedule" else SGDSettings().name
        return {"name": default, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        if self.body.weights is None and (self.body.norm_frozen or self.body.frozen):
            raise ValueError(
                "body.frozen and body.norm_frozen keep parts as they start, which asks for body.weights: without, they "
                "are those of an untrained network"
            )
        if self.body.weights is not None and self.norm.name == "gn":
            raise ValueError(
                f"body.weights={self.body.weights} are those of a BatchNorm, which norm.name=gn has no place for; "
                "choose another norm or body.weights=null"
            )
        return self
