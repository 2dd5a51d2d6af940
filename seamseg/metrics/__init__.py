"""From predictions and ground truth to numbers; what is counted can be added up over ranks."""

from seamseg.metrics.panoptic_quality import PanopticQuality
from seamseg.metrics.resampling import compare

__all__ = ["PanopticQuality", "compare"]
