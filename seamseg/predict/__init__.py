"""Prediction on images and videos.

A run goes through these modules:

1. ``images`` or ``video_file`` finds the inputs.
2. ``folder_run`` or ``video_run`` asks ``results_folder`` which images or frames have no results yet.
3. ``pipeline`` reads each of them, predicts with ``predictor``, and writes its files with ``outputs``.
4. ``tiled`` predicts large images in overlapping tiles.
5. ``results_folder`` records each finished image, and writes the JSON files at the end.
"""

from seamseg.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
