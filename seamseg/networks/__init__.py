"""Complete networks, each assembled from backbone, heads and algorithms in one short file."""

from seamseg.networks.deeplab import DeepLabNet
from seamseg.networks.pyramid import PyramidNet

SegmentationNet = PyramidNet | DeepLabNet
"""Network that takes images and annotation in training, and predicts :class:`seamseg.structures.Predictions`."""

__all__ = ["DeepLabNet", "PyramidNet", "SegmentationNet"]
