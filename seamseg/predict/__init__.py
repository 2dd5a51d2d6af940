"""Images in, panoptic segmentations out: `predictor` asks the network, `folder_run` and `video_run` go through many
images, `outputs` writes what people and programs want of each, `result` is what a library user gets."""

from seamseg.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
