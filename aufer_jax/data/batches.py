"""Rows -> one batch of NumPy arrays."""

import dataclasses
import functools

import numpy as np

from aufer_jax import facs
from aufer_jax.data import clips, heatmaps, records, views, votes
from aufer_jax.data.mixture import Part
from aufer_jax.faces import align

Batch = dict[str, np.ndarray]
Problem = tuple[str, str]  # what is wrong, and the record's key

BROKEN_IMAGE, EMPTY_CLIP, NO_LANDMARKS = "broken image", "empty clip", "no landmarks"

_CHUNK = 16  # faces whose heatmaps are drawn together: more leave the processor's cache
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
        "landmarks": np.empty((rows, *frames, records.LANDMARKS, 2), np.float32),
        "mask": np.zeros(rows, np.bool_),
        "id": np.zeros(rows, np.int64),
    }
    if spec.train and spec.labels != "majority":
        classes = len(spec.expressions or ())
        batch["expression_target"] = np.zeros((rows, classes), np.float32)
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
    found = [row.part.source[row.index] for row in rows]
    looks = [_look(row, record) for row, record in zip(rows, found, strict=True)]
    landmarks = np.stack([look.landmarks for look in looks])  # [B, T, 68, 2]
    bases = align.face_matrix(landmarks, spec.size)
    bases[~heatmaps.drawable(landmarks)] = np.nan
    matrices = np.full_like(bases, np.nan)
    for i, (row, record, look) in enumerate(zip(rows, found, looks, strict=True)):
        batch["id"][i] = records.key_id(record["key"])
        problem = _fill_pixels(batch, i, row, look, bases[i], matrices[i])
        if problem:
            problems.append((problem, record["key"]))
        if problem not in (BROKEN_IMAGE, EMPTY_CLIP):
            _fill_labels(batch, i, row, record)
    moved = align.transform(landmarks, matrices)
    mirrored = [look.change.mirrored for look in looks]
    moved[mirrored] = moved[mirrored][..., facs.FLIP68, :]
    batch["landmarks"][...] = moved.reshape(batch["landmarks"].shape)
    batch["landmarks_valid"] = heatmaps.drawable(batch["landmarks"])
    if "heatmap" in spec.views:
        parts = [batch["landmarks"][i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
        drawn = [heatmaps.draw(part, spec.heatmap, spec.size)[0] for part in parts]
        batch["heatmap"] = np.concatenate(drawn)
    return batch, problems


@dataclasses.dataclass(frozen=True)
class _Look:
    """What is needed to draw one row: an image is a clip of one frame."""

    frames: list[bytes]
    landmarks: np.ndarray  # [T, 68, 2]
    change: views.Draw


def _look(row: Row, record: records.Record) -> _Look:
    spec, change = row.part.spec, views.UNCHANGED
    if row.rng is not None:
        change = views.draw(spec.augment, spec.size, row.rng, spec.erase)
    if spec.clip is None:
        return _Look([record["image"]], record["landmarks"][None], change)
    frames = record["frames"]
    if not frames:
        return _Look([], np.full((spec.clip.frames, records.LANDMARKS, 2), np.nan), change)
    chosen = clips.sample(len(frames), spec.clip, row.rng)
    return _Look([frames[t] for t in chosen], record["landmarks"][chosen], change)


def _fill_pixels(
    batch: Batch, i: int, row: Row, look: _Look, bases: np.ndarray, matrices: np.ndarray
) -> str | None:
    """Draws the frames of a row, notes their maps, and says what is wrong with the record."""
    spec = row.part.spec
    out = batch["clip"][i] if spec.clip else batch["image"][i : i + 1]
    known = np.all(np.isfinite(bases), (-2, -1))
    broken = None if look.frames else EMPTY_CLIP
    for t, data in enumerate(look.frames):
        aligned = spec.align is not None and known[t]
        matrix = views.render(data, bases[t] if aligned else None, look.change, out[t])
        if matrix is None:
            broken = BROKEN_IMAGE
            break
        matrices[t] = matrix
        if row.rng is not None:
            views.recolour(out[t], look.change, spec.augment, row.rng)
            views.erase_box(out[t], look.change.box, spec.erase)
    if broken:
        matrices[:] = np.nan
        out.fill(_GRAY)
    if "erased" in spec.views:
        mirror, rng = batch["image_erased"][i], None if broken else row.rng
        batch["erased_box"][i] = views.mirror_and_erase(out[0], mirror, spec.erase, rng)
    wanted = spec.align is not None or "heatmap" in spec.views
    return broken or (NO_LANDMARKS if wanted and not known.all() else None)


def labels(part: Part) -> Batch:
    """`expression` [N], `au` and `au_known` [N, n] of all records of a part; no image is decoded."""
    names = ("expression", "au", "au_known", "mask")
    batch = {k: v for k, v in empty(0, part.spec).items() if k in names}
    batch = {k: np.zeros((len(part.source), *v.shape[1:]), v.dtype) for k, v in batch.items()}
    batch["expression"].fill(-1)
    for i in range(len(part.source)):
        _fill_labels(batch, i, Row(part, i, None), part.source[i])
    return batch


def _fill_labels(batch: Batch, i: int, row: Row, record: records.Record) -> None:
    part, spec = row.part, row.part.spec
    batch["mask"][i] = row.mask
    if part.expressions:
        batch["expression"][i] = _expression(record["expression"], part)
        if "expression_target" in batch:
            batch["expression_target"][i] = _target(row, record)
    if part.aus and part.source.info.aus:
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


def _target(row: Row, record: records.Record) -> np.ndarray:
    """What a row's votes make its expression [C]: zeros if they, or its label, tell nothing."""
    part, spec = row.part, row.part.spec
    ours, wanted = part.source.info.expressions, spec.expressions or ()
    target, counts = np.zeros(len(wanted), np.float32), record["expression_votes"]
    if ours and len(counts) >= len(ours):
        spread, _ = votes.distribution(counts, spec.labels, len(ours))
    else:
        spread = votes.one_hot(record["expression"], len(ours))
    places = np.array(_label_map(ours, wanted), np.int64)
    if not spread.any() or places[spread.argmax()] < 0:
        return target  # a foremost class that is not wanted is like most votes for no class
    target[places[places >= 0]] = spread[places >= 0]
    if spec.labels == "probability" and row.rng is not None:
        return votes.one_hot(votes.draw(target, row.rng), len(wanted))
    return target / target.sum()


_label_map = functools.cache(facs.label_map)


@functools.cache
def _places(ours: tuple[int, ...], wanted: tuple[int, ...]) -> np.ndarray:
    return np.array(facs.au_index(ours, wanted), np.int64)
