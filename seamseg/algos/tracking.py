"""Tracking of things over the frames of a video.

The tracker only sees one panoptic segmentation after another. It predicts where the mask of every known thing is in the
next frame, assigns the segments of that frame to the predicted masks, and gives the others a new id. As in SORT (Bewley
et al. 2016), motion is linear and the assignment is optimal; as in STEP's baseline (Weber et al. 2021, section 5),
masks are compared rather than boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.errors import SettingsError
from seamseg.ops.id_maps import lookup_ids, segment_boxes

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Chosen on 10 drives of `render_drive`; the weights are relative to the IoU of masks.
_LEAST_AFFINITY = 0.2
_CLOSENESS_WEIGHT = 1.5  # of boxes
_CONTAINMENT_WEIGHT = 0.15  # of the overlap relative to the smaller area, for things that are partly hidden
_OTHER_CLASS = 0.4  # factor for a segment of another class than its track
_VELOCITY_MOMENTUM = 0.3
_TOLERANCE, _NEW_TOLERANCE = 0.5, 1.0  # distance of centers relative to the size; new tracks have an unknown motion
_SCALE_TOLERANCE = (0.35, 0.7)  # change of the logarithms of height and width; the width of walkers changes more
_COVERED_AREA, _COVERED_CONTAINMENT = 0.5, 0.8
_LARGEST_RATE = 0.25  # maximum change of the logarithm of a size per frame


@dataclass(eq=False)
class Track:
    """A thing with its last mask, its motion and the classes it was seen with.

    Attributes:
        number: Id, from 1.
        mask: Mask within its box, h×w bool.
        corner: Row and column of the top left corner of the box in pixels.
        velocity: Change per frame of the center's row and column in pixels, and of the logarithms of height and width.
        votes: Sum of the scores with which the thing was seen, by class, C.
        last: Number of the frame in which the thing was seen last.
        age: Number of frames in which the thing was seen.
        covered: Number of frames since the thing was seen as a whole; its mask is that of this time.
    """

    number: int
    mask: Mask
    corner: tuple[int, int]
    velocity: FloatArray
    votes: FloatArray
    last: int
    age: int
    covered: int = 0

    @property
    def category(self) -> int:
        """Class with the most votes."""
        return int(self.votes.argmax())


@dataclass(frozen=True, eq=False)
class Segments:
    """Things of one frame.

    Attributes:
        ids: Id map, H×W.
        numbers: N ids of the things in the map.
        masks: N masks within their boxes.
        corners: N rows and columns of the top left corners of the boxes.
        areas: N areas in pixels.
        classes: N classes.
        scores: N scores in 0 … 1.
    """

    ids: IntArray
    numbers: IntArray
    masks: Sequence[Mask]
    corners: Sequence[tuple[int, int]]
    areas: FloatArray
    classes: IntArray
    scores: FloatArray


class Tracker:
    """Assignment of constant ids to the things of a video, frame by frame.

    The affinity of a track and a segment is a weighted sum of the IoU of the predicted mask and the segment, of the
    overlap relative to the smaller of them, and of the closeness of their boxes in place and size; it is lower if the
    classes differ. Of all assignments, the tracker takes the one with the largest sum of affinities (Kuhn 1955). A
    thing that is not seen keeps moving as before and keeps its id for ``gap`` frames. A thing of which suddenly only a
    part is seen is partly hidden; it keeps its mask and its motion for as long. The class of a thing is the one with
    the largest sum of scores so far.

    Attributes:
        frame: Number of frames so far.
        tracks: Things that can be seen again, by ascending number.
        next_number: Id of the next new thing.

    Args:
        num_classes: Number of stuff and thing classes C.
        gap: Maximum number of consecutive frames in which a thing is not seen and keeps its id.

    Raises:
        SeamsegError: The package scipy is not installed.

    Example:
        >>> import numpy as np
        >>> from seamseg.algos.tracking import Tracker
        >>> tracker = Tracker(num_classes=2, gap=10)
        >>> for column in (1, 3, 5):  # a thing of class 1 that moves to the right
        ...     ids = np.zeros((6, 12), np.int64)
        ...     ids[2:5, column : column + 4] = 9
        ...     print(tracker.update(ids, {9: 1}, {9: 0.8}))
        {9: (1, 1)}
        {9: (1, 1)}
        {9: (1, 1)}
    """

    def __init__(self, num_classes: int, gap: int) -> None:
        require_scipy()
        self.num_classes, self.gap = num_classes, gap
        self.frame, self.next_number = 0, 1
        self.tracks: list[Track] = []

    def update(self, ids: IntArray, classes: dict[int, int], scores: dict[int, float]) -> dict[int, tuple[int, int]]:
        """Track the things of the next frame.

        Args:
            ids: Id map, H×W, in 0 … 2³¹ − 1.
            classes: Class of each thing by id.
            scores: Score of each thing by id, in 0 … 1.

        Returns:
            Number of the track and its class, for every thing with a pixel.
        """
        segments = _segments(ids, classes, scores)
        self.frame += 1
        tracks = self.tracks if len(segments.numbers) else []
        overlaps = [_mask_overlap(track.mask, self._predicted(track), segments) for track in tracks]
        rows, columns = _assign(self._affinities(segments, overlaps))
        found = dict(zip(columns.tolist(), rows.tolist(), strict=True))
        result, created = {}, list[Track]()
        for column, number in enumerate(segments.numbers.tolist()):
            if column in found:
                row = found[column]
                track = self.tracks[row]
                iou, containment = (float(values[column]) for values in overlaps[row])
                self._see(track, segments, column, iou, containment)
            else:
                track = self._create(segments, column)
                created.append(track)
            result[number] = track.number, track.category
        self.tracks = [track for track in self.tracks if self.frame - track.last <= self.gap] + created
        return result

    def _predicted(self, track: Track) -> FloatArray:
        """Return the place of a track in this frame, in the form of :func:`_place`."""
        return _predict(track, self.frame - track.last)

    def _affinities(self, segments: Segments, overlaps: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
        """Return the affinity of each track and segment, T×N; 0 for pairs that are too different."""
        affinities = np.zeros((len(self.tracks), len(segments.numbers)))
        if affinities.size:
            places = np.array([_place(*one) for one in zip(segments.masks, segments.corners, strict=True)])
            for row, (track, (iou, containment)) in enumerate(zip(self.tracks, overlaps, strict=True)):
                alike = np.where(segments.classes == track.category, 1.0, _OTHER_CLASS)
                seen = _clipped(self._predicted(track), segments.ids.shape)
                close = 0.0 if seen is None else _closeness(seen, places, self.frame - track.last, track.age)
                affinities[row] = alike * (iou + _CONTAINMENT_WEIGHT * containment + _CLOSENESS_WEIGHT * close)
        return np.where(affinities >= _LEAST_AFFINITY, affinities, 0.0)

    def _see(self, track: Track, segments: Segments, column: int, iou: float, containment: float) -> None:
        track.votes[segments.classes[column]] += segments.scores[column]
        if self._is_covered(track, float(segments.areas[column]), iou, containment):
            center = self._predicted(track)[:2]
            y, x = np.rint(center - np.array(track.mask.shape) / 2).astype(int).tolist()
            track.corner, track.covered = (y, x), track.covered + 1
        else:
            self._move(track, segments, column)
        track.last, track.age = self.frame, track.age + 1

    def _is_covered(self, track: Track, area: float, iou: float, containment: float) -> bool:
        """Return whether a segment of this area is only a part of the predicted mask."""
        # Of a segment inside the mask, the IoU is the part of the mask that it covers.
        inside = containment >= _COVERED_CONTAINMENT and iou < _COVERED_AREA
        smaller = area < _COVERED_AREA * track.mask.sum()
        return bool(inside and smaller and track.covered < self.gap)

    def _move(self, track: Track, segments: Segments, column: int) -> None:
        elapsed, before = self.frame - track.last, _edges(track.mask, track.corner)
        track.covered = 0
        track.mask, track.corner = segments.masks[column], segments.corners[column]
        step = _step(before, _edges(track.mask, track.corner), segments.ids.shape) / elapsed
        momentum = 0.0 if track.age == 1 else _VELOCITY_MOMENTUM
        track.velocity = momentum * track.velocity + (1 - momentum) * step
        track.velocity[2:] = track.velocity[2:].clip(-_LARGEST_RATE, _LARGEST_RATE)

    def _create(self, segments: Segments, column: int) -> Track:
        votes = np.zeros(self.num_classes)
        votes[segments.classes[column]] = max(float(segments.scores[column]), 1e-6)
        mask, corner = segments.masks[column], segments.corners[column]
        track = Track(self.next_number, mask, corner, np.zeros(4), votes, self.frame, 1)
        self.next_number += 1
        return track

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything that later frames depend on, as plain arrays; see :meth:`restore`."""
        tracks = self.tracks
        bits = np.concatenate([np.zeros(0, np.bool_), *[track.mask.ravel() for track in tracks]])
        return {
            "counters": np.array([self.frame, self.next_number, self.num_classes]),
            "tracks": np.array(
                [[one.number, *one.corner, *one.mask.shape, one.last, one.age, one.covered] for one in tracks], np.int64
            ).reshape(-1, 8),
            "velocities": np.array([track.velocity for track in tracks]).reshape(-1, 4),
            "votes": np.array([track.votes for track in tracks]).reshape(-1, self.num_classes),
            "masks": np.packbits(bits),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Continue from a state of an earlier tracker.

        Args:
            state: Arrays from :meth:`state`.

        Raises:
            KeyError, ValueError: The arrays do not belong together, or belong to other classes.
        """
        frame, next_number, num_classes = (int(value) for value in state["counters"])
        if num_classes != self.num_classes:
            raise ValueError(f"the tracks have votes for {num_classes} classes, not for {self.num_classes}")
        table = np.asarray(state["tracks"], np.int64).reshape(-1, 8)
        velocities = np.asarray(state["velocities"], np.float64).reshape(len(table), 4)
        votes = np.asarray(state["votes"], np.float64).reshape(len(table), num_classes)
        areas = table[:, 3] * table[:, 4]
        bits = np.unpackbits(np.asarray(state["masks"], np.uint8), count=int(areas.sum())).astype(np.bool_)
        masks = np.split(bits, np.cumsum(areas)[:-1]) if len(table) else []
        self.tracks = [
            Track(number, mask.reshape(height, width), (y, x), velocity.copy(), vote.copy(), *counters)
            for (number, y, x, height, width, *counters), mask, velocity, vote in zip(
                table.tolist(), masks, velocities, votes, strict=True
            )
        ]
        self.frame, self.next_number = frame, next_number


def require_scipy() -> None:
    """Check that scipy is installed.

    Raises:
        SeamsegError: It is not.
    """
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise SettingsError("tracking requires the package scipy: pip install 'seamseg[track]'") from error


def _assign(affinities: FloatArray) -> tuple[IntArray, IntArray]:
    """Return rows and columns of the assignment with the largest sum, without pairs of affinity 0."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(affinities, maximize=True)
    alike = affinities[rows, columns] > 0
    return rows[alike], columns[alike]


def _segments(ids: IntArray, classes: dict[int, int], scores: dict[int, float]) -> Segments:
    """Cut the masks of the things out of an id map; things without a pixel are left out."""
    known = sorted(classes)
    positions = lookup_ids(torch.from_numpy(ids.astype(np.int32)), torch.tensor(known, dtype=torch.int32)) + 1
    boxes, areas = segment_boxes(positions, len(known) + 1)  # the first one is everything that is not listed
    numbers, corners, masks = list[int](), list[tuple[int, int]](), list[Mask]()
    for position, (number, area, box) in enumerate(zip(known, areas[1:].tolist(), boxes[1:].tolist(), strict=True), 1):
        if area:
            y0, x0, y1, x1 = map(int, box)
            numbers.append(number)
            corners.append((y0, x0))
            masks.append((positions[y0:y1, x0:x1] == position).numpy())
    return Segments(
        ids,
        np.array(numbers, np.int64),
        masks,
        corners,
        areas[1:][areas[1:] > 0].numpy().astype(np.float64),
        np.array([classes[number] for number in numbers], np.int64),
        np.array([scores[number] for number in numbers], np.float64),
    )


def _edges(mask: Mask, corner: tuple[int, int]) -> IntArray:
    """Return the first row, first column, end row and end column of a mask."""
    return np.array([*corner, corner[0] + mask.shape[0], corner[1] + mask.shape[1]])


def _step(before: IntArray, now: IntArray, size: tuple[int, ...]) -> FloatArray:
    """Return the movement between two boxes as :attr:`Track.velocity` has it.

    The edges of a box at the border of the image do not move with the thing, so the opposite edge counts.
    """
    step = np.zeros(4)
    for axis in (0, 1):
        low, high = before[axis] > 0 and now[axis] > 0, before[axis + 2] < size[axis] and now[axis + 2] < size[axis]
        moved = now[[axis, axis + 2]] - before[[axis, axis + 2]]
        if low and high:
            step[axis] = moved.mean()
            step[axis + 2] = np.log((now[axis + 2] - now[axis]) / (before[axis + 2] - before[axis]))
        elif low or high:
            step[axis] = moved[0] if low else moved[1]
    return step


def _clipped(place: FloatArray, size: tuple[int, ...]) -> FloatArray | None:
    """Return the part of a place inside the image; None if there is none."""
    sides = np.exp(place[2:])
    low, high = np.maximum(place[:2] - sides / 2, 0), np.minimum(place[:2] + sides / 2, size)
    if (high - low < 1).any():
        return None
    return np.concatenate([(low + high) / 2, np.log(high - low)])


def _place(mask: Mask, corner: tuple[int, int]) -> FloatArray:
    """Return row and column of the center of a mask, and the logarithms of its height and width."""
    height, width = mask.shape
    return np.array([corner[0] + height / 2, corner[1] + width / 2, np.log(height), np.log(width)])


def _predict(track: Track, elapsed: int) -> FloatArray:
    """Return the place of a track, in the form of :func:`_place`, some frames after it was seen last."""
    change = track.velocity * elapsed
    change[2:] = change[2:].clip(-3 * _LARGEST_RATE, 3 * _LARGEST_RATE)  # a hidden thing does not grow forever
    return _place(track.mask, track.corner) + change


def _closeness(predicted: FloatArray, places: FloatArray, elapsed: int, age: int) -> FloatArray:
    """Return 1 for segments of the same center and size as the prediction, and less for others, N.

    The tolerance is larger for new tracks and for those that were not seen for a while.
    """
    sizes = (places[:, 2:].sum(1) + predicted[2:].sum()) / 4  # logarithm of the geometric mean of all sides
    tolerance = (_NEW_TOLERANCE if age == 1 else _TOLERANCE) * (1 + 0.15 * (elapsed - 1))
    distances = np.hypot(places[:, 0] - predicted[0], places[:, 1] - predicted[1]) / np.exp(sizes) / tolerance
    scales = (places[:, 2:] - predicted[2:]) / _SCALE_TOLERANCE
    return np.asarray(np.exp(-0.5 * (distances**2 + (scales**2).sum(1))))


def _mask_overlap(mask: Mask, predicted: FloatArray, segments: Segments) -> tuple[FloatArray, FloatArray]:
    """Move and scale a mask to its predicted place, and compare its visible part with each segment.

    Returns:
        IoU, and the shared area divided by the smaller one, N each.
    """
    (height, width), (image_height, image_width) = mask.shape, segments.ids.shape
    new_height, new_width = (max(1, round(float(np.exp(side)))) for side in predicted[2:])
    top, left = round(float(predicted[0] - new_height / 2)), round(float(predicted[1] - new_width / 2))
    rows = np.arange(max(0, -top), min(new_height, image_height - top))
    columns = np.arange(max(0, -left), min(new_width, image_width - left))
    if not (len(rows) and len(columns)):
        return np.zeros(len(segments.numbers)), np.zeros(len(segments.numbers))
    moved = mask[(2 * rows + 1) * height // (2 * new_height)][:, (2 * columns + 1) * width // (2 * new_width)]
    below = segments.ids[top + rows[0] : top + rows[-1] + 1, left + columns[0] : left + columns[-1] + 1][moved]
    values, counts = np.unique(below, return_counts=True)
    shared = np.zeros(len(segments.numbers))
    positions = np.minimum(np.searchsorted(segments.numbers, values), len(segments.numbers) - 1)
    known = segments.numbers[positions] == values
    shared[positions[known]] = counts[known]
    area = float(moved.sum())
    return shared / (segments.areas + area - shared), shared / np.maximum(np.minimum(segments.areas, area), 1)
