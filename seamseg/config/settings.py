"""The base class and the value types of all settings."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
"""Number in 0 … 1."""

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]

FilePath = Annotated[str, AfterValidator(os.path.expanduser)]
"""Path of a file or folder; a leading ``~`` is expanded to the home folder."""


class Settings(BaseModel):
    """A group of settings: immutable, without unknown keys, with a docstring under each field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
