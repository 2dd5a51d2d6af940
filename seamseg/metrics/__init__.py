"""From predictions and ground truth to numbers; what is counted can be added up over ranks."""

from seamseg.metrics.panoptic_quality import PanopticQuality

__all__ = ["PanopticQuality"]
