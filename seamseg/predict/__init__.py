"""Images in, panoptic segmentations out.

From the command down to the network and back to the files:

1. ``images`` or ``video_file`` find what to segment;
2. ``folder_run`` or ``video_run`` ask ``results_folder`` which images are left;
3. ``pipeline`` reads each of them, has ``predictor`` segment it, and has ``outputs`` write its files;
4. ``results_folder`` notes that it is done, and in the end writes the JSON files.
"""

from seamseg.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
