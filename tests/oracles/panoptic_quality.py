"""Panoptic counts from sets of pixels, one rule after the other."""

from __future__ import annotations

import torch
from oracles.pixel_sets import Segments, pixels_of
from torch import Tensor


def count(prediction: Segments, truth: Segments, num_classes: int) -> Tensor:
    """Return 4×C: sum of IoUs, true positives, false positives, false negatives."""
    (true_ids, true_classes, true_crowd), (predicted_ids, predicted_classes, predicted_crowd) = truth, prediction
    true, predicted = pixels_of(true_ids), pixels_of(predicted_ids)
    void = set().union(*(pixels for segment, pixels in true.items() if true_classes[segment] == 255), set())
    counts = torch.zeros(4, num_classes, dtype=torch.float64)
    matched_true, matched_predicted = set(), set()
    for t, true_pixels in true.items():
        for p, predicted_pixels in predicted.items():
            if true_classes[t] == 255 or true_crowd[t] or predicted_crowd[p] or true_classes[t] != predicted_classes[p]:
                continue
            iou = len(true_pixels & predicted_pixels) / len((true_pixels | predicted_pixels) - void)
            if iou > 0.5:
                assert t not in matched_true
                assert p not in matched_predicted
                matched_true.add(t)
                matched_predicted.add(p)
                counts[0, true_classes[t]] += iou
                counts[1, true_classes[t]] += 1
    for p, predicted_pixels in predicted.items():
        if p in matched_predicted or predicted_classes[p] == 255 or predicted_crowd[p]:
            continue
        excused = set(void)
        crowds = [t for t in true if true_crowd[t] and true_classes[t] == predicted_classes[p]]
        if crowds:
            excused |= true[max(crowds)]  # only the last one
        if len(predicted_pixels & excused) / len(predicted_pixels) <= 0.5:
            counts[2, predicted_classes[p]] += 1
    for t in true:
        if t not in matched_true and true_classes[t] != 255 and not true_crowd[t]:
            counts[3, true_classes[t]] += 1
    return counts
