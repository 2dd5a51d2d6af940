"""Metrics that compare predictions with ground truth. The counts of several ranks can be added."""

from seamseg.metrics.panoptic_quality import PanopticQuality

__all__ = ["PanopticQuality"]
