"""Pictures and videos with what was predicted drawn into them: box, points, label, bars of the AUs."""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np

from aufer_jax.runs import pictures, video
from aufer_jax.runs.prediction import Seen
from aufer_jax.runs.table import BOX, POINTS, Columns
from aufer_jax.sources.files import as_text

_SMALL, _LARGE = 480, 1280  # pixels of the longer side, to which pictures are scaled
_PANEL, _LINE = 230, 15  # pixels: width beside the picture, height of a line of it
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS = ((90, 220, 90), (240, 190, 60), (80, 160, 250), (220, 110, 220), (90, 230, 230))  # BGR
_GREY, _BACK = (200, 200, 200), 24
_STILL = 10.0  # seconds that a frame of a video stands at most, as its times may be wrong


class Drawings:
    """A folder that receives a .jpg for each picture and a .mp4 for each video."""

    def __init__(self, folder: str, bars: Sequence[str]):
        """`bars` are the columns between 0 and 1 that are drawn as bars."""
        self.folder = pathlib.Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bars, self._taken = bars, set()
        self._film: _Film | None = None

    def add(self, part: Sequence[Seen], table: Columns) -> None:
        """Draws the pictures of a part; `table` has its rows."""
        row = 0
        for seen in part:
            rows = range(row, row + max(1, len(seen.faces)))
            row = rows.stop
            assert seen.image is not None
            drawn = draw(
                seen.image, [{k: v[i] for k, v in table.items()} for i in rows], self._bars
            )
            if pictures.is_video(seen.file):
                if self._film is None or self._film.file != seen.file:
                    self.close()
                    self._film = _Film(seen.file, self._path(seen.file, ".mp4"), drawn, seen.time)
                self._film.add(drawn, seen.time)
            else:
                cv2.imwrite(str(self._path(seen.file, ".jpg")), drawn)

    def _path(self, file: str, ending: str) -> pathlib.Path:
        """A name of its own for each file, also where two folders have one of the same name."""
        name = stem = as_text(pathlib.Path(file).stem.replace(":", "-"))
        number = 1
        while name + ending in self._taken:
            number += 1
            name = f"{stem} ({number})"
        self._taken.add(name + ending)
        return self.folder / (name + ending)

    def close(self) -> None:
        """Ends the video that is being written, if any."""
        if self._film is not None:
            self._film.close()
        self._film = None

    def __enter__(self) -> "Drawings":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Film:
    """A .mp4 of drawn frames, of one rate, that stand as long as those of their video or camera did."""

    def __init__(self, file: str, path: pathlib.Path, first: np.ndarray, time: float):
        self.file, self._rate = file, video.rate(file)
        code, size = cv2.VideoWriter.fourcc(*"mp4v"), (first.shape[1], first.shape[0])
        self._writer = cv2.VideoWriter(str(path), code, self._rate, size)
        self._last, self._time = first, time
        self._due, self._written = 0.0, 0  # frames until now

    def add(self, drawn: np.ndarray, time: float) -> None:
        """Writes the last frame until this time, then this one; each at least once."""
        self._due += self._rate * min(time - self._time, _STILL)
        for _ in range(round(self._due) - self._written):
            self._write(self._last)
        self._write(drawn)
        self._last, self._time = drawn, time

    def _write(self, drawn: np.ndarray) -> None:
        self._writer.write(drawn)
        self._written += 1

    def close(self) -> None:
        """Ends the file."""
        self._writer.release()


def draw(image: np.ndarray, rows: Sequence[dict], bars: Sequence[str]) -> np.ndarray:
    """An RGB picture and its rows of the table -> a drawing, BGR; its size follows from the picture's."""
    height, width = image.shape[:2]
    side = max(height, width)
    scale = np.clip(side, _SMALL, _LARGE) / side
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR), None, fx=scale, fy=scale, interpolation=how
    )
    needed = _LINE * (len(bars) + 3)
    tall, wide = max(shown.shape[0], needed), shown.shape[1] + _PANEL
    canvas = np.full((tall + tall % 2, wide + wide % 2, 3), _BACK, np.uint8)
    canvas[: shown.shape[0], : shown.shape[1]] = shown
    faces = [row for row in rows if row["face"] >= 0]
    for row in faces:
        _face(canvas[: shown.shape[0], : shown.shape[1]], row, scale)
    fitting = faces[: canvas.shape[0] // needed]
    for place, row in enumerate(fitting):
        _panel(canvas[place * needed :, shown.shape[1] :], row, bars)
    if not faces:
        _text(canvas, "no face", (shown.shape[1] + 10, 20), _GREY)
    return canvas


def _face(canvas: np.ndarray, row: dict, scale: float) -> None:
    colour = _colour(row)
    size = max(1, round(row["width"] * scale / 150))
    points = np.array([row[name] for name in POINTS]).reshape(2, 68).T
    for x, y in ((points + 0.5) * scale).round().astype(int).tolist():
        cv2.circle(canvas, (x, y), size, colour, -1, cv2.LINE_AA)
    left, top, width, height = (row[name] * scale for name in BOX)
    corner, end = (int(left), int(top)), (int(left + width), int(top + height))
    cv2.rectangle(canvas, corner, end, colour, 1, cv2.LINE_AA)
    _text(canvas, _title(row), (max(corner[0], 2), max(corner[1] - 5, 12)), colour)


def _panel(canvas: np.ndarray, row: dict, bars: Sequence[str]) -> None:
    colour, x, full = _colour(row), 84, _PANEL - 84 - 44
    _text(canvas, _title(row), (10, 20), colour)
    for line, name in enumerate(bars, 2):
        y = _LINE * line
        value = float(np.nan_to_num(row[name]))
        cv2.rectangle(canvas, (x, y + 3), (x + full, y + _LINE - 3), (64, 64, 64), -1)
        cv2.rectangle(canvas, (x, y + 3), (x + round(full * value), y + _LINE - 3), colour, -1)
        _text(canvas, name[:11], (10, y + 12), _GREY)
        _text(canvas, f"{value:.2f}", (x + full + 6, y + 12), _GREY)


def _title(row: dict) -> str:
    label = str(row.get("label", ""))
    return f"{row['face']} {label} {row[label]:.2f}" if label else f"{row['face']}"


def _colour(row: dict) -> tuple[int, int, int]:
    return _COLOURS[row["face"] % len(_COLOURS)]


def _text(canvas: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, ...]) -> None:
    cv2.putText(canvas, text, place, _FONT, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(canvas, text, place, _FONT, 0.42, colour, 1, cv2.LINE_AA)
