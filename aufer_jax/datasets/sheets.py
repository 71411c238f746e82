"""Sheets of a dataset's samples: faces with landmarks, AU heatmaps over them, names of the AUs present."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from aufer_jax import facs
from aufer_jax.data import heatmaps, records, views
from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.geometry import align

TILE = 128  # pixels
FRAMES = 8  # of a clip

_GAP, _CELL_GAP, _EDGE = 4, 18, 10
_LEFT, _TOP, _LINE = 104, 48, 13
_DPI = 100
_AUS = 6  # named under an image; the rest are counted
_PAPER, _MISSING = 255, 225
_DOT, _LINES = (60, 230, 60), (20, 90, 20)
_SHARE = 0.55  # of a heatmap over the face
_FINE = 4  # bits of the fractions of a pixel in which dots are placed


@dataclasses.dataclass(frozen=True)
class Sample:
    """One sample as it is shown: rows of tiles and the lines of text below."""

    tiles: list[list[np.ndarray]]
    lines: list[str]


def save(
    path: pathlib.Path,
    info: DatasetInfo,
    rows: Mapping[str, Sequence[Record]],
    title: str,
    threshold: float,
    spec: HeatmapSpec,
    present_only: bool = False,
) -> None:
    """Writes a PNG with a row of samples for each class, of records as `info` describes them."""
    clip = info.kind == records.CLIP
    make = clip_sample if clip else image_sample
    cells = {
        name: [make(record, info, threshold, spec, present_only) for record in chosen]
        for name, chosen in rows.items()
    }
    cells = {
        f"{name}" if i == 0 else f"{name} ({i + 1})": row
        for name, samples in cells.items()
        for i, row in enumerate([[s] for s in samples] if clip else [samples])
    }
    what = "all AUs" if not present_only else "the AUs present"
    first, second = ("upper row", "lower row") if clip else ("left", "right")
    note = f"{first}: landmarks; {second}: heatmap of {what}"
    sheet = _lay_out(cells, title, note)
    path.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())


def image_sample(
    record: Record, info: DatasetInfo, threshold: float, spec: HeatmapSpec, present_only: bool
) -> Sample:
    """An image with its landmarks and its heatmap, to be shown on a sheet."""
    level = np.where(record["au_known"], record["au"], np.nan)
    mine = _spec(spec, info.aus, level, threshold) if present_only else spec
    pair = _tiles(record["image"], record["landmarks"], mine)
    return Sample([pair], _names(info.aus, level, threshold))


def clip_sample(
    record: Record, info: DatasetInfo, threshold: float, spec: HeatmapSpec, present_only: bool
) -> Sample:
    """The same of some frames of a clip."""
    frames = record["frames"]
    shown = np.unique(np.linspace(0, max(len(frames) - 1, 0), FRAMES).round().astype(int))
    level = np.where(record["au_known"], record["au"], np.nan)  # [T, AUs]
    pairs = []
    for t in shown[: len(frames)]:
        mine = _spec(spec, info.aus, level[t], threshold) if present_only else spec
        pairs.append(_tiles(frames[t], record["landmarks"][t], mine))
    most = np.fmax.reduce(level, 0) if len(level) else np.full(len(info.aus), np.nan)
    lines = _names(info.aus, most, threshold)
    first = f"frames {', '.join(str(t) for t in shown)} of {len(frames)}"
    if not pairs:
        return Sample([[_blank()]], ["no frames"])
    return Sample([[a for a, _ in pairs], [b for _, b in pairs]], [first, "; ".join(lines)])


def _spec(
    spec: HeatmapSpec, aus: Sequence[int], level: np.ndarray, threshold: float
) -> HeatmapSpec | None:
    """The heatmap of the AUs that are present, or None if there are none."""
    present = [au for au, x in zip(aus, level, strict=True) if x >= threshold]
    drawn = tuple(au for au in present if au in facs.HEATMAP_23)
    return dataclasses.replace(spec, aus=drawn) if drawn else None


def _names(aus: Sequence[int], level: np.ndarray, threshold: float) -> list[str]:
    """The AUs that are present, strongest first."""
    if not len(aus) or np.isnan(level).all():
        return ["AUs unknown"]
    order = np.argsort(-np.nan_to_num(level), kind="stable")
    there = [i for i in order if level[i] >= threshold]
    lines = [f"{aus[i]} {facs.AUS[aus[i]].name} ({level[i]:.1f})" for i in there[:_AUS]]
    if len(there) > _AUS:
        lines[-1] = f"and {len(there) - _AUS + 1} more"
    return lines or ["no AU"]


# --- Tiles --------------------------------------------------------------------------------------


def _blank() -> np.ndarray:
    return np.full((TILE, TILE, 3), _MISSING, np.uint8)


def _tiles(data: bytes, landmarks: np.ndarray, spec: HeatmapSpec | None) -> list[np.ndarray]:
    """A face with its landmarks, and the same with its AU heatmap, RGB [TILE, TILE, 3]."""
    image = views.decode(data)
    if image is None:
        return [_blank(), _blank()]
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=how), cv2.COLOR_BGR2RGB)
    left, top = (TILE - size[0]) // 2, (TILE - size[1]) // 2
    face = np.full((TILE, TILE, 3), _PAPER, np.uint8)
    face[top : top + size[1], left : left + size[0]] = small
    matrix = np.array([[size[0] / width, 0, left], [0, size[1] / height, top]])
    matrix[:, 2] += (np.diag(matrix[:, :2]) - 1) / 2
    points = align.transform(landmarks, matrix)
    return [_dotted(face, points), _heated(face, points, spec)]


def _dotted(face: np.ndarray, points: np.ndarray) -> np.ndarray:
    face = face.copy()
    for point in points[np.isfinite(points).all(-1)]:
        place = [round(float(v) * 2**_FINE) for v in point]
        for radius, colour in ((26, _LINES), (17, _DOT)):
            cv2.circle(face, place, radius, colour, cv2.FILLED, cv2.LINE_AA, _FINE)
    return face


def _heated(face: np.ndarray, points: np.ndarray, spec: HeatmapSpec | None) -> np.ndarray:
    """The face in grey with the heatmap over it; only the face where there is no heatmap."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if spec is None:
        return grey
    maps, valid = heatmaps.draw(points, spec, TILE)
    if not valid:
        return grey
    heat = cv2.resize(np.asarray(maps).max(-1), (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)
    share = (_SHARE * np.clip(heat / 0.5, 0, 1))[..., None]
    mixed = grey * (1 - share) + cv2.cvtColor(colours, cv2.COLOR_BGR2RGB) * share
    return (mixed + 0.5).astype(np.uint8)


# --- The sheet ----------------------------------------------------------------------------------


def _extent(sample: Sample) -> tuple[int, int]:
    """Width and height of a sample with its text."""
    columns, rows = len(sample.tiles[0]), len(sample.tiles)
    text = _LINE * len(sample.lines)
    return columns * (TILE + _GAP) - _GAP, rows * (TILE + _GAP) + text


def _lay_out(cells: Mapping[str, Sequence[Sample]], title: str, note: str) -> np.ndarray:
    """The picture, RGB: tiles pasted where matplotlib wrote no text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [max(_extent(s)[1] for s in row) + _CELL_GAP for row in cells.values()]
    wide = max(_extent(s)[0] + _CELL_GAP for row in cells.values() for s in row)
    width = _LEFT + wide * max(len(row) for row in cells.values()) + _EDGE
    height = _TOP + sum(heights) + _EDGE
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)

    def write(x: float, y: float, text: str, **options: Any) -> None:
        figure.text(x / width, 1 - y / height, text, va="top", **options)

    write(_EDGE, _EDGE, title, fontsize=12, weight="bold")
    write(_EDGE, _EDGE + 19, note, fontsize=8, color="0.35")
    top = _TOP
    for (name, row), tall in zip(cells.items(), heights, strict=True):
        write(_LEFT - _EDGE, top + TILE / 2 - 6, name, fontsize=8.5, ha="right")
        for column, sample in enumerate(row):
            below = top + len(sample.tiles) * (TILE + _GAP)
            for number, line in enumerate(sample.lines):
                write(_LEFT + column * wide, below + _LINE * number, line, fontsize=7)
        top += tall
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    sheet = np.array(canvas.buffer_rgba())[..., :3]
    for x, y, tile in _places(cells, heights, wide):
        sheet[y : y + TILE, x : x + TILE] = tile
    return sheet


def _places(
    cells: Mapping[str, Sequence[Sample]], heights: Sequence[int], wide: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Left, top and picture of every tile."""
    top = _TOP
    for row, tall in zip(cells.values(), heights, strict=True):
        for column, sample in enumerate(row):
            for r, line in enumerate(sample.tiles):
                for c, tile in enumerate(line):
                    x = _LEFT + column * wide + c * (TILE + _GAP)
                    yield x, top + r * (TILE + _GAP), tile
        top += tall
