"""Metrics that compare predictions with ground truth. The counts of several ranks can be added."""

from seamseg.metrics.panoptic_quality import PanopticQuality
from seamseg.metrics.resampling import compare

__all__ = ["PanopticQuality", "compare"]
