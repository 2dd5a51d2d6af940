"""What becomes of segments, with sets of pixels, one rule after the other."""

from __future__ import annotations

from torch import Tensor

Pixels = set[tuple[int, int]]
Case = tuple[bool, int, int, str, int, float]
"""True side or not, class, class of the counterpart, outcome, pixels, IoU with the counterpart."""


def cases(
    predicted_ids: Tensor,
    predicted_classes: list[int],
    predicted_crowd: list[bool],
    true_ids: Tensor,
    true_classes: list[int],
    true_crowd: list[bool],
) -> list[Case]:
    """Of the true segments that can be found, and of all predicted ones that do not match."""
    true, predicted = pixels_of(true_ids), pixels_of(predicted_ids)
    void = set().union(*(pixels for t, pixels in true.items() if true_classes[t] == 255), set())
    true = {t: pixels for t, pixels in true.items() if true_classes[t] != 255}
    predicted = {p: pixels for p, pixels in predicted.items() if predicted_classes[p] != 255 and not predicted_crowd[p]}

    def iou(t: int, p: int) -> float:
        return len(true[t] & predicted[p]) / len((true[t] | predicted[p]) - void)

    def case(is_true: bool, own: int, area: int, others: list[tuple[int, float]]) -> Case:
        """``others``: class of every segment on the other side and its IoU with this one."""
        same = max([value for klass, value in others if klass == own], default=0.0)
        wrong = [(value, klass) for klass, value in others if klass != own and value > 0.5]
        if same > 0.5:
            return is_true, own, own, "FOUND", area, same
        if wrong:
            return is_true, own, wrong[0][1], "CONFUSED", area, wrong[0][0]
        if same >= 0.1:
            return is_true, own, own, "POOR", area, same
        return is_true, own, 255, "ALONE", area, 0.0

    found = []
    for t in sorted(true):
        if not true_crowd[t]:
            others = [(predicted_classes[p], iou(t, p)) for p in predicted]
            found.append(case(True, true_classes[t], len(true[t]), others))
    for p in sorted(predicted):
        excused = set(void)
        crowds = [t for t in true if true_crowd[t] and true_classes[t] == predicted_classes[p]]
        if crowds:
            excused |= true[max(crowds)]
        others = [(true_classes[t], iou(t, p)) for t in true if not true_crowd[t]]
        one = case(False, predicted_classes[p], len(predicted[p]), others)
        if one[3] != "FOUND" and len(predicted[p] & excused) / len(predicted[p]) <= 0.5:
            found.append(one)
    return found


def pixels_of(ids: Tensor) -> dict[int, Pixels]:
    found: dict[int, Pixels] = {}
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            found.setdefault(int(ids[y, x]), set()).add((y, x))
    return found
