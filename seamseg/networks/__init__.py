"""The networks: body, heads and algorithms put together, each on one screen."""

from seamseg.networks.panoptic import PanopticNet

__all__ = ["PanopticNet"]
