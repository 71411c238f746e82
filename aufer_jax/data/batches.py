"""Rows -> one batch of NumPy arrays."""

import dataclasses
import functools
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.data import clips, heatmaps, records, views
from aufer_jax.data.mixture import Part
from aufer_jax.faces import align

Batch = dict[str, np.ndarray]
Problem = tuple[str, str]  # what is wrong, and the record's key

BROKEN_IMAGE, EMPTY_CLIP, NO_LANDMARKS = "broken image", "empty clip", "no landmarks"

_GRAY = 127  # stands in for an image that cannot be read


@dataclasses.dataclass(frozen=True)
class Row:
    """One row to make: a record of a part, its random generator, and whether it counts."""

    part: Part
    index: int
    rng: np.random.Generator | None
    mask: bool = True


def empty(rows: int, spec: views.Spec) -> Batch:
    """The arrays of a batch, to be filled row by row."""
    frames = (spec.clip.frames,) if spec.clip else ()
    pixels = (spec.size, spec.size, 3)
    batch: Batch = {
        "clip" if spec.clip else "image": np.empty((rows, *frames, *pixels), np.uint8),
        "expression": np.full(rows, -1, np.int32),
        "au": np.zeros((rows, len(spec.aus)), np.float32),
        "au_known": np.zeros((rows, len(spec.aus)), np.bool_),
        "landmarks": np.full((rows, *frames, records.LANDMARKS, 2), np.nan, np.float32),
        "mask": np.zeros(rows, np.bool_),
        "id": np.zeros(rows, np.int64),
    }
    if "erased" in spec.views:
        batch["image_erased"] = np.empty((rows, *pixels), np.uint8)
        batch["erased_box"] = np.zeros((rows, 4), np.int32)
    return batch


def assemble(rows: list[Row], spec: views.Spec) -> tuple[Batch, list[Problem]]:
    """A batch of the given rows.

    A record that cannot be read becomes a grey image with mask False, expression -1 and no known
    AU, and is named among the problems; nothing a file holds raises here.
    """
    batch, problems = empty(len(rows), spec), []
    for i, row in enumerate(rows):
        record = row.part.source[row.index]
        problem = (_fill_clip if spec.clip else _fill_image)(batch, i, row, record)
        batch["id"][i] = records.key_id(record["key"])
        if problem:
            problems.append((problem, record["key"]))
        if problem not in (BROKEN_IMAGE, EMPTY_CLIP):
            _fill_labels(batch, i, row, record)
    batch["landmarks_valid"] = np.all(np.isfinite(batch["landmarks"]), (-2, -1))
    if "heatmap" in spec.views:
        batch["heatmap"], _ = heatmaps.draw(batch["landmarks"], spec.heatmap, spec.size)
    return batch, problems


def _fill_labels(batch: Batch, i: int, row: Row, record: records.Record) -> None:
    part, spec = row.part, row.part.spec
    batch["mask"][i] = row.mask
    if part.expressions:
        batch["expression"][i] = _expression(record["expression"], part)
    if part.aus:
        present = record["au"] >= spec.au_threshold
        if present.ndim == 2:
            present = clips.video_labels(present)
        places = _places(part.source.info.aus, spec.aus)
        known = (places >= 0) & record["au_known"][places]
        batch["au_known"][i] = known
        batch["au"][i] = known & present[places]


def _expression(label: int, part: Part) -> int:
    if label < 0 or part.spec.expressions is None:
        return label
    return _label_map(part.source.info.expressions, part.spec.expressions)[label]


_label_map = functools.cache(facs.label_map)


@functools.cache
def _places(ours: tuple[int, ...], wanted: tuple[int, ...]) -> np.ndarray:
    return np.array(facs.au_index(ours, wanted), np.int64)


def _base(landmarks: np.ndarray, spec: views.Spec) -> tuple[np.ndarray | None, str | None]:
    """The alignment of one face, and what is wrong if it needs landmarks that are not there."""
    if spec.align is None and "heatmap" not in spec.views:
        return None, None
    points = align.five_points(landmarks)
    if not (np.isfinite(points).all() and np.ptp(points, axis=0).all()):
        return None, NO_LANDMARKS
    return (align.face_matrix(landmarks, spec.size) if spec.align else None), None


def _change(row: Row) -> views.Draw:
    spec = row.part.spec
    return views.UNCHANGED if row.rng is None else views.draw(spec.augment, spec.size, row.rng)


def _fill_image(batch: Batch, i: int, row: Row, record: records.Record) -> str | None:
    spec, out = row.part.spec, batch["image"][i]
    image = views.decode(record["image"])
    if image is None:
        out.fill(_GRAY)
        if "erased" in spec.views:
            batch["image_erased"][i].fill(_GRAY)
        return BROKEN_IMAGE
    change = _change(row)
    base, problem = _base(record["landmarks"], spec)
    _face(image, base, change, row, out, record["landmarks"], batch["landmarks"][i])
    if "erased" in spec.views:
        mirrored = batch["image_erased"][i]
        batch["erased_box"][i] = views.mirror_and_erase(out, mirrored, spec.erase, row.rng)
    return problem


def _fill_clip(batch: Batch, i: int, row: Row, record: records.Record) -> str | None:
    spec, frames = row.part.spec, record["frames"]
    batch["clip"][i].fill(_GRAY)
    if not frames:
        return EMPTY_CLIP
    assert spec.clip
    change, problem = _change(row), None
    for t, frame in enumerate(clips.sample(len(frames), spec.clip, row.rng)):
        image = views.decode(frames[frame])
        if image is None:
            batch["clip"][i].fill(_GRAY)
            return BROKEN_IMAGE
        landmarks = record["landmarks"][frame]
        base, trouble = _base(landmarks, spec)
        problem = problem or trouble
        _face(image, base, change, row, batch["clip"][i, t], landmarks, batch["landmarks"][i, t])
    return problem


def _face(image: Any, base: Any, change: views.Draw, row: Row, out, landmarks, moved) -> None:
    matrix = views.render(image, base, change, out)
    if row.rng is not None:
        views.recolour(out, change, row.part.spec.augment, row.rng)
    moved[...] = views.move_landmarks(landmarks, matrix, change.mirrored)
