"""Data loading: data sets, transforms, samplers and the batch loader."""

from seamseg.data.formats.open import open_data_set

__all__ = ["open_data_set"]
