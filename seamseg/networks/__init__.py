"""Complete networks, each assembled from backbone, heads and algorithms in one short file."""

from seamseg.networks.panoptic import PanopticNet

__all__ = ["PanopticNet"]
