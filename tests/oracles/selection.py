"""Selection of proposals and detections, one box after the other."""

from __future__ import annotations

import math

from oracles.box_deltas import Numbers, clip, decode
from oracles.nms import nms
from oracles.overlap import Box, area


def select_proposals(
    anchors: list[Box],
    objectness: list[float],
    box_deltas: list[Numbers],
    size: tuple[int, int],
    num_before_nms: int,
    num_after_nms: int,
    nms_threshold: float,
    min_size: float,
) -> list[Box]:
    """Return the proposals of one image by descending objectness."""
    candidates = []
    for anchor, score, delta in zip(anchors, objectness, box_deltas, strict=True):
        y0, x0, y1, x1 = box = clip(decode(anchor, delta), size)
        if min_size == 0 or (y1 - y0 >= min_size and x1 - x0 >= min_size):
            candidates.append((score, box))
    best = sorted(candidates, key=lambda candidate: -candidate[0])[:num_before_nms]
    boxes = [box for _, box in best]
    kept = nms(boxes, [score for score, _ in best], nms_threshold)
    return [boxes[index] for index in kept[:num_after_nms]]


def select_detections(
    proposals: list[Box],
    logits: list[Numbers],
    box_deltas: list[list[Numbers]],
    size: tuple[int, int],
    nms_threshold: float,
    score_threshold: float,
    max_predictions: int,
    shift_weights: Numbers,
) -> list[tuple[float, int, Box]]:
    """Return score, class and box of the detections of one image, by descending score."""
    found = []
    for klass in range(len(logits[0]) - 1 if logits else 0):
        boxes: list[Box] = []
        scores: list[float] = []
        for proposal, row, delta in zip(proposals, logits, box_deltas, strict=True):
            score = math.exp(row[klass + 1]) / sum(math.exp(logit) for logit in row)
            move = [value / weight for value, weight in zip(delta[klass], shift_weights, strict=True)]
            box = clip(decode(proposal, move), size)
            if score > score_threshold and area(box) > 0:
                boxes.append(box)
                scores.append(score)
        found += [(scores[index], klass, boxes[index]) for index in nms(boxes, scores, nms_threshold)]
    return sorted(found, key=lambda detection: -detection[0])[:max_predictions]
