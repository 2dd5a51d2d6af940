"""From disk to batches: data sets, transforms, samplers, the loader."""

from seamseg.data.formats.open import open_data_set

__all__ = ["open_data_set"]
