"""The script that holds what the overview knows: scores, classes, and a line for every image."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from seamseg import __version__
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.scores import Scores
from seamseg.report.image_files import ImageSummary
from seamseg.report.material import ReportMaterial
from seamseg.report.verdicts import Verdict
from seamseg.structures import ImageId

_TRUE_ERRORS = (Verdict.MISSED, Verdict.WRONG_CLASS, Verdict.BADLY_CUT)
_FALSE_ERRORS = (Verdict.FALSE, Verdict.WRONG_CLASS, Verdict.BADLY_CUT)


def index_script(material: ReportMaterial, summaries: Sequence[ImageSummary], scores: Scores | None) -> str:
    """The text of the script, with one image in a line.

    Args:
        material: what the report is made from.
        summaries: of its images, in the same order.
        scores: None without an annotation.
    """
    plain = None if scores is None else scores.to_dict()
    counts: dict[ImageId, ImageCounts] = {} if scores is None else {one.image_id: one for one in scores.images}
    head = {
        "title": material.title,
        "version": __version__,
        "annotated": material.annotated,
        "numScored": len(counts),
        "notes": [*material.notes, *_unreadable(summaries)],
        "scores": plain and {key: plain[key] for key in ("all", "things", "stuff", "miou", "pq_dagger", "boundary")},
        "classes": _classes(material, summaries, plain),
    }
    lines = [
        _text(summary.record | (_quality(counts[image.predicted.image_id]) if image.true is not None else {}))
        for image, summary in zip(material.images, summaries, strict=True)
    ]
    return f'seamseg.receiveIndex({_text(head)[:-1]},"images":[\n' + ",\n".join(lines) + "\n]});\n"


def _unreadable(summaries: Sequence[ImageSummary]) -> list[str]:
    """One sentence, however many they are; their reasons may tell of folders, which a page keeps to itself."""
    names = [summary.record["name"] for summary in summaries if summary.fault]
    number = f"{len(names)} photographs" if len(names) > 1 else "1 photograph"
    return [f"{number} cannot be read, such as {names[0]}, and grey stands for them"] if names else []


def _quality(counts: ImageCounts) -> dict[str, Any]:
    """PQ of the image, and of its classes the sum of IoUs and the numbers of found, false and missed segments."""
    per_class = [
        [int(number), round(float(column[0]), 4), *(int(value) for value in column[1:])]
        for number, column in zip(counts.classes, counts.counts.T, strict=True)
    ]
    return {"pq": None if math.isnan(counts.pq) else round(counts.pq, 5), "quality": per_class}


def _classes(
    material: ReportMaterial, summaries: Sequence[ImageSummary], scores: dict[str, Any] | None
) -> list[dict[str, Any]]:
    pixels = sum(height * width for height, width in (summary.record["size"] for summary in summaries))
    lines = []
    for number, category in enumerate(material.categories.classes):
        line: dict[str, Any] = {
            "name": category.name,
            "thing": category.is_thing,
            "color": "#" + bytes(category.color).hex(),
            "segments": sum(summary.segments[number] for summary in summaries),
            "images": sum(number in summary.record["classes"] for summary in summaries),
            "share": round(sum(summary.areas[number] for summary in summaries) / pixels, 6),
        }
        if scores is not None:
            found = scores["per_class"][category.name]
            keys = ("pq", "sq", "rq", "iou", "boundary_pq", "tp", "fp", "fn")
            line["scores"] = {key: _rounded(found[key]) for key in keys}
            line["missed"] = [sum(one.true_errors[number, kind.value] for one in summaries) for kind in _TRUE_ERRORS]
            line["false"] = [
                sum(one.predicted_errors[number, kind.value] for one in summaries) for kind in _FALSE_ERRORS
            ]
        lines.append(line)
    return lines


def _rounded(value: float | int | None) -> float | int | None:
    return round(value, 6) if isinstance(value, float) else value


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
