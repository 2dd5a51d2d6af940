"""Data structures shared by all parts: packed batches, images, categories, ground truth, losses, predictions."""

from seamseg.structures.batch import Batch, ImageId, Sample
from seamseg.structures.categories import VOID, Categories, Category, Color
from seamseg.structures.ground_truth import GroundTruth, Objects
from seamseg.structures.images import PaddedImages, Size, Unreadable, pad_images, unpad_images
from seamseg.structures.instances import DrawnObjects, ImageInstances, Instance, RunLengthMask
from seamseg.structures.labeled_images import LabeledBatch, LabeledImage
from seamseg.structures.losses import ClassifierLosses, Losses, LossSum, LossValues
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.panoptic_segmentation import LayeredSegmentation, PanopticSegmentation
from seamseg.structures.predictions import Detections, Predictions, SemanticLogits

__all__ = [
    "VOID",
    "Batch",
    "Categories",
    "Category",
    "ClassifierLosses",
    "Color",
    "Detections",
    "DrawnObjects",
    "GroundTruth",
    "ImageId",
    "ImageInstances",
    "Instance",
    "LabeledBatch",
    "LabeledImage",
    "LayeredSegmentation",
    "LossSum",
    "LossValues",
    "Losses",
    "Objects",
    "PackedSequence",
    "PaddedImages",
    "PanopticSegmentation",
    "Predictions",
    "RunLengthMask",
    "Sample",
    "SemanticLogits",
    "Size",
    "Unreadable",
    "pad_images",
    "unpad_images",
]
