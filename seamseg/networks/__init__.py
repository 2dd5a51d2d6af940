"""Complete networks, each assembled from backbone, heads and algorithms in one short file."""

from seamseg.networks.panoptic import PanopticNet
from seamseg.networks.semantic import SemanticNet

SegmentationNet = PanopticNet | SemanticNet
"""Network that takes images and annotation in training, and predicts :class:`seamseg.structures.Predictions`."""

__all__ = ["PanopticNet", "SegmentationNet", "SemanticNet"]
