"""Which faces of a video's frames are the same, by their boxes and points; and smoothing over time."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from aufer_jax.faces import boxes

_LEAST = 0.3  # intersection over union of a face's boxes
_MEMORY = 1.0  # seconds after which a face that is not seen is forgotten


class Tracks:
    """The faces of one video so far; numbers are given from 0 and never again."""

    def __init__(self):
        self._seen: dict[
            int, tuple[np.ndarray, np.ndarray, float]
        ] = {}  # last box, points and time
        self._next = 0

    def follow(
        self, found: Sequence[np.ndarray], points: Sequence[np.ndarray], time: float
    ) -> list[int]:
        """The numbers of the faces with these boxes (left, top, right, bottom) and points, in a later frame.

        Boxes of one face overlap; where they do with several, as when people pass each other, the points
        tell which face it is.
        """
        self._seen = {k: v for k, v in self._seen.items() if time - v[2] <= _MEMORY}
        corners = np.reshape(found, (-1, 2, 2))
        pairs = []
        for face, (box, before, _) in self._seen.items():
            for i, overlap in enumerate(boxes.overlap(box, corners).tolist()):
                if overlap >= _LEAST:
                    moved = np.hypot(*np.moveaxis(points[i] - before, -1, 0)).mean()
                    pairs.append((overlap - moved / max(np.ptp(corners[i], 0).max(), 1), face, i))
        numbers: dict[int, int] = {}
        for _, face, i in sorted(pairs, key=lambda pair: -pair[0]):
            if i not in numbers and face not in numbers.values():
                numbers[i] = face
        for i, box in enumerate(corners):
            if i not in numbers:
                numbers[i], self._next = self._next, self._next + 1
            self._seen[numbers[i]] = (box, points[i], time)
        return [numbers[i] for i in range(len(found))]


class Smoother:
    """Values of each face of a video, averaged over its past; one `seconds` old weighs 1/e of a new one."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._file, self._time = "", 0.0
        self._held: dict[int, tuple[float, dict[str, np.ndarray]]] = {}

    def __call__(
        self, rows: Sequence[tuple[str, int, float, int]], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The same values smoothed; `rows` are file, frame, time and face of each, in order."""
        smoothed = {name: np.array(value, np.float32) for name, value in values.items()}
        for i, (file, frame, time, face) in enumerate(rows):
            if file != self._file or (not frame and time < self._time):
                self._held.clear()
            self._file, self._time = file, time
            before = self._held.get(face)
            if before is not None and 0 <= time - before[0] <= _MEMORY:
                share = 1 - math.exp((before[0] - time) / self._seconds)
                for name, value in smoothed.items():
                    value[i] = before[1][name] + share * (value[i] - before[1][name])
            self._held[face] = time, {name: value[i] for name, value in smoothed.items()}
        return smoothed
