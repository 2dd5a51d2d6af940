"""Outcomes of segments from sets of pixels, one rule after the other."""

from __future__ import annotations

from oracles.pixel_sets import Segments, pixels_of

Case = tuple[bool, int, int, str, int, float]
"""Whether it is a true segment, class, class of the counterpart, outcome, pixels, IoU with the counterpart."""


def cases(prediction: Segments, truth: Segments) -> list[Case]:
    """Return the cases of true segments that count and of false predictions."""
    (true_ids, true_classes, true_crowd), (predicted_ids, predicted_classes, predicted_crowd) = truth, prediction
    true, predicted = pixels_of(true_ids), pixels_of(predicted_ids)
    void = set().union(*(pixels for t, pixels in true.items() if true_classes[t] == 255), set())
    true = {t: pixels for t, pixels in true.items() if true_classes[t] != 255}
    predicted = {p: pixels for p, pixels in predicted.items() if predicted_classes[p] != 255 and not predicted_crowd[p]}

    def iou(t: int, p: int) -> float:
        return len(true[t] & predicted[p]) / len((true[t] | predicted[p]) - void)

    found = []
    for t in sorted(true):
        if not true_crowd[t]:
            others = [(predicted_classes[p], iou(t, p)) for p in predicted]
            found.append((True, true_classes[t], *reason(true_classes[t], others, "missed"), len(true[t])))
    for p in sorted(predicted):
        own, excused = predicted_classes[p], set(void)
        crowds = [t for t in true if true_crowd[t] and true_classes[t] == own]
        if crowds:
            excused |= true[max(crowds)]
        objects = [t for t in true if not true_crowd[t]]
        other, outcome, value = reason(own, [(true_classes[t], iou(t, p)) for t in objects], "background")
        if outcome == "localization":
            best = [t for t in objects if true_classes[t] == own and iou(t, p) == value]
            if all(any(predicted_classes[q] == own and iou(t, q) > 0.5 for q in predicted) for t in best):
                outcome = "duplicate"
        if outcome != "matched" and len(predicted[p] & excused) / len(predicted[p]) <= 0.5:
            found.append((False, own, other, outcome, value, len(predicted[p])))
    return [(is_true, own, other, outcome, area, value) for is_true, own, other, outcome, value, area in found]


def reason(own: int, others: list[tuple[int, float]], nothing: str) -> tuple[int, str, float]:
    """Return class of the counterpart, outcome and IoU; ``others`` has class and IoU of segments of the other side."""
    same = max([value for klass, value in others if klass == own], default=0.0)
    wrong = [(value, klass) for klass, value in others if klass != own and value > 0.5]
    if same > 0.5:
        return own, "matched", same
    if wrong:
        return wrong[0][1], "classification", wrong[0][0]
    if same >= 0.1:
        return own, "localization", same
    return 255, nothing, 0.0
