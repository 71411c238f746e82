"""Rows -> one batch of NumPy arrays."""

import dataclasses
import functools

import numpy as np

from aufer_jax import facs
from aufer_jax.data import heatmaps, records, views, votes
from aufer_jax.data.mixture import Part, generator
from aufer_jax.data.video_labels import video_labels
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import FLIP, MESH_FEATURES

Batch = dict[str, np.ndarray]
Problem = tuple[str, str]  # what is wrong, and the record's key

BROKEN_IMAGE, EMPTY_CLIP, NO_LANDMARKS = "broken image", "empty clip", "no landmarks"
# Of clips that are used all the same.
BROKEN_FRAME, SHORT_CLIP, NO_AUS = "broken frame", "short clip", "no AU labels"
SINGLE_FRAME = "clip of a single frame"

_FLIPPED = np.array(facs.BLENDSHAPE_FLIP)
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
    frames = (spec.clip.count(spec.train),) if spec.clip else ()
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
    if not spec.clip:
        batch["blendshapes"] = np.full((rows, len(facs.BLENDSHAPES)), np.nan, np.float32)
        batch["mesh_features"] = np.full((rows, MESH_FEATURES), np.nan, np.float32)
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
    AU, and is named among the problems; nothing a file holds raises here. In the place of a clip's
    broken frame stands the nearest one that can be read.
    """
    batch, problems = empty(len(rows), spec), []
    found = [row.part.source[row.index] for row in rows]
    looks = [_look(row, record) for row, record in zip(rows, found, strict=True)]
    landmarks = np.stack([look.landmarks for look in looks])  # [B, T, 68, 2]
    bases = _bases(landmarks, spec.size)
    matrices = np.full_like(bases, np.nan)
    for i, (row, record, look) in enumerate(zip(rows, found, looks, strict=True)):
        batch["id"][i] = records.key_id(record["key"])
        wrong = []
        problem = _fill_pixels(batch, i, row, look, bases[i], matrices[i])
        if problem == BROKEN_IMAGE and (mended := _mended(look, record)):
            wrong.append(BROKEN_FRAME)
            look = mended
            landmarks[i], bases[i] = look.landmarks, _bases(look.landmarks, spec.size)
            problem = _fill_pixels(batch, i, row, look, bases[i], matrices[i])
        wrong += [problem] if problem else []
        if problem not in (BROKEN_IMAGE, EMPTY_CLIP):
            _fill_labels(batch, i, row, record, look.chosen)
            wrong += _lacks(row.part, record, batch["au_known"][i])
        problems += [(what, record["key"]) for what in wrong]
    mirrored = [look.change.mirrored for look in looks]
    moved = _moved(landmarks, matrices, mirrored)
    batch["landmarks"][...] = moved.reshape(batch["landmarks"].shape)
    if "blendshapes" in batch:
        for i, (record, flipped) in enumerate(zip(found, mirrored, strict=True)):
            shapes = record.get("blendshapes", batch["blendshapes"][i])
            batch["blendshapes"][i] = shapes[_FLIPPED] if flipped else shapes
            features = record.get("mesh_features", ())
            if len(features) == MESH_FEATURES:  # a mirrored face keeps them
                batch["mesh_features"][i] = features
    batch["landmarks_valid"] = heatmaps.drawable(batch["landmarks"])
    if "heatmap" in spec.views:
        points = batch["landmarks"]
        if spec.heatmap.noise:  # of the record's landmarks: a mirrored face errs as its mirror does
            off = [
                heatmaps.misplaced(face, spec.heatmap.noise, generator(int(key), 0))
                for face, key in zip(landmarks, batch["id"], strict=True)
            ]
            points = _moved(np.stack(off), matrices, mirrored).reshape(points.shape)
        parts = [points[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)]
        drawn = [heatmaps.draw(part, spec.heatmap, spec.size)[0] for part in parts]
        batch["heatmap"] = np.concatenate(drawn)
    return batch, problems


def _moved(landmarks: np.ndarray, matrices: np.ndarray, mirrored: list[bool]) -> np.ndarray:
    """Landmarks [B, T, 68, 2] of the records in the pixels of the batch's images."""
    moved = align.transform(landmarks, matrices)
    moved[mirrored] = moved[mirrored][..., FLIP, :]
    return moved


@dataclasses.dataclass(frozen=True)
class _Look:
    """What is needed to draw one row: an image is a clip of one frame, in a batch of clips too."""

    frames: list[bytes]
    landmarks: np.ndarray  # [T, 68, 2]
    change: views.Draw
    chosen: np.ndarray | None = None  # [T] which frames of the clip


def _look(row: Row, record: records.Record) -> _Look:
    spec, change = row.part.spec, views.UNCHANGED
    if row.rng is not None:
        change = views.draw(spec.augment, spec.size, row.rng, spec.erase)
    frames, landmarks = _frames(record)
    if spec.clip is None:
        return _Look(frames, landmarks, change)
    if not frames:
        unknown = np.full((spec.clip.count(spec.train), records.LANDMARKS, 2), np.nan)
        return _Look([], unknown, change)
    chosen = spec.clip.choose(len(frames), row.rng, record["key"])
    return _Look([frames[t] for t in chosen], landmarks[chosen], change, chosen)


def _frames(record: records.Record) -> tuple[list[bytes], np.ndarray]:
    """The frames of a record, and their landmarks [T, 68, 2]."""
    if "image" in record:
        return [record["image"]], record["landmarks"][None]
    return record["frames"], record["landmarks"]


def _mended(look: _Look, record: records.Record) -> _Look | None:
    """The look with the nearest readable frame for each broken one; None if there is none."""
    if look.chosen is None:
        return None
    frames, landmarks = _frames(record)
    readable = [t for t, data in enumerate(frames) if views.decode(data) is not None]
    if not readable:
        return None
    distance = np.abs(look.chosen[:, None] - np.array(readable))
    chosen = np.array(readable)[distance.argmin(1)]
    return _Look([frames[t] for t in chosen], landmarks[chosen], look.change, chosen)


def _bases(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The alignments [..., 2, 3] of landmarks [..., 68, 2], NaN where they do not suffice."""
    bases = align.face_matrix(landmarks, size)
    bases[~heatmaps.drawable(landmarks)] = np.nan
    return bases


def _lacks(part: Part, record: records.Record, known: np.ndarray) -> list[str]:
    """What is missing in a clip that is used all the same; of an image nothing is."""
    if part.spec.clip is None or "image" in record:
        return []
    count = len(record["frames"])
    short = [SINGLE_FRAME if count == 1 else SHORT_CLIP] * (count < part.spec.clip.frames)
    return short + [NO_AUS] * bool(part.aus and part.source.info.aus and not known.any())


def _fill_pixels(
    batch: Batch, i: int, row: Row, look: _Look, bases: np.ndarray, matrices: np.ndarray
) -> str | None:
    """Draws the frames of a row, notes their maps, and says what is wrong with the record."""
    spec = row.part.spec
    out = batch["clip"][i] if spec.clip else batch["image"][i : i + 1]
    known = np.all(np.isfinite(bases), (-2, -1))
    aligned = spec.align is not None and known.any()
    bases = bases[_nearest(known)]  # a frame aligned unlike its neighbours would make a clip jump
    broken = None if look.frames else EMPTY_CLIP
    # Frames that a clip repeats are drawn once, unless each has noise of its own.
    noisy = look.change.noise or (spec.erase.noise and look.change.box != views.NO_BOX)
    drawn: dict[int, int] = {}
    for t, data in enumerate(look.frames):
        first = t if noisy else drawn.setdefault(id(data), t)
        if first < t:
            out[t], matrices[t] = out[first], matrices[first]
            continue
        base = bases[t] if aligned else None
        matrix = views.render(data, base, look.change, out[t], spec.fill)
        if matrix is None:
            broken = BROKEN_IMAGE
            break
        matrices[t] = matrix
        if row.rng is not None:
            views.recolour(out[t], look.change, row.rng)
            views.erase_box(out[t], look.change.box, spec.erase, row.rng)
    if broken:
        matrices[:] = np.nan
        out.fill(_GRAY)
    if "erased" in spec.views:
        mirror, rng = batch["image_erased"][i], None if broken else row.rng
        batch["erased_box"][i] = views.mirror_and_erase(out[0], mirror, spec.erase, rng)
    wanted = spec.align is not None or "heatmap" in spec.views
    return broken or (NO_LANDMARKS if wanted and not known.all() else None)


def _nearest(known: np.ndarray) -> np.ndarray:
    """For each of T frames the nearest one that is known [T], itself where none is."""
    frames = np.arange(len(known))
    places = np.flatnonzero(known)
    return places[np.abs(places - frames[:, None]).argmin(1)] if places.size else frames


def labels(part: Part) -> Batch:
    """`expression` [N], `au` (1: present), `au_known` [N, n] of all records; no image is decoded."""
    part = dataclasses.replace(part, spec=dataclasses.replace(part.spec, au_labels="presence"))
    names = ("expression", "au", "au_known", "mask")
    batch = {k: v for k, v in empty(0, part.spec).items() if k in names}
    batch = {k: np.zeros((len(part.source), *v.shape[1:]), v.dtype) for k, v in batch.items()}
    batch["expression"].fill(-1)
    for i in range(len(part.source)):
        _fill_labels(batch, i, Row(part, i, None), part.source[i])
    return batch


def _fill_labels(
    batch: Batch, i: int, row: Row, record: records.Record, chosen: np.ndarray | None = None
) -> None:
    """`chosen` are the frames of a clip that were taken."""
    part, spec = row.part, row.part.spec
    batch["mask"][i] = row.mask
    if part.expressions:
        batch["expression"][i] = _expression(record["expression"], part)
        if "expression_target" in batch:
            batch["expression_target"][i] = _target(row, record)
    if part.aus and part.source.info.aus:
        present, told = _present(record["au"], spec, chosen)
        places = _places(part.source.info.aus, spec.aus)
        known = (places >= 0) & (record["au_known"] & told)[places]
        batch["au_known"][i] = known
        taught = present
        if spec.train and spec.au_labels == "intensity" and record["au"].ndim == 1:
            taught = np.clip(record["au"] / facs.MOST, 0, 1)
        batch["au"][i] = np.where(known, taught[places], 0)


def _present(
    au: np.ndarray, spec: views.Spec, chosen: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which AUs [n] of an image, or of a clip's frames, are present, and which are known."""
    if au.ndim == 2 and chosen is not None and spec.au_frames == "sampled":
        au = au[chosen]
    present = np.where(np.isnan(au), np.nan, au >= spec.au_threshold)
    if au.ndim == 2:
        return video_labels(present)
    return present == 1, np.isfinite(present)


def _expression(label: int, part: Part) -> int:
    if label < 0 or part.spec.expressions is None:
        return label
    return _label_map(part.source.info.expressions, part.spec.expressions)[label]


def _target(row: Row, record: records.Record) -> np.ndarray:
    """What a row's votes or soft label make its expression [C]: zeros if they, or its label, say nothing."""
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
