"""What is read from a dataset to measure bias: its labels, and the mean face of each expression."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from aufer_jax import facs
from aufer_jax.data import batches, loader, mixture, records, sampling, views
from aufer_jax.data.video_labels import video_labels
from aufer_jax.datasets import profiles

_BATCH = 64


def read_profile(
    source: records.Source, aus: Sequence[int], threshold: float | None = 1.0
) -> profiles.Profile:
    """The AU profile of a split; no image is decoded.

    Args:
      source: its records, images or clips.
      aus: the AUs to compare; those that the dataset lacks are unknown.
      threshold: intensity from which an AU counts as present; None keeps the intensities.
    """
    info, count = source.info, len(source)
    expression = np.full(count, -1, np.int64)
    au = np.zeros((count, len(info.aus) + 1))
    known = np.zeros(au.shape, bool)  # the last column, of AUs that are not there, stays unknown
    for i in range(count):
        record = source[i]
        expression[i] = record["expression"]
        au[i, :-1] = _of_record(record["au"], threshold)
        known[i, :-1] = record["au_known"]
    places = np.array(facs.au_index(info.aus, aus), np.int64)
    columns = au[:, places], known[:, places]
    return profiles.profile(info.name, info.expressions, aus, expression, *columns)


def _of_record(au: np.ndarray, threshold: float | None) -> np.ndarray:
    """The AUs [n] of an image, or of a clip from those of its frames."""
    if au.ndim == 1:
        return au if threshold is None else au >= threshold
    known = np.isfinite(au)
    if threshold is None:
        return np.nansum(au, 0) / np.maximum(known.sum(0), 1)
    return video_labels(np.where(known, au >= threshold, np.nan))[0]


@dataclasses.dataclass(frozen=True)
class MeanFaces:
    """The mean image of each expression of a dataset, the last of all samples."""

    dataset: str
    rows: tuple[str, ...]
    images: np.ndarray  # uint8 [R, size, size, 3]; white where there is no sample
    samples: np.ndarray  # [R]
    resized: int  # faces without landmarks: resized where the others are aligned
    broken: tuple[str, ...]  # keys of images that cannot be read


def mean_faces(source: records.Source, size: int = 112, threads: int = 2) -> MeanFaces:
    """Mean faces, aligned by their landmarks where these are known; of a clip, its middle frame."""
    info = source.info
    clip = sampling.Sampling(1) if info.kind == records.CLIP else None
    spec = views.Spec(size=size, aus=(), align="5pt", clip=clip, train=False)
    stream = loader.eval_batches(mixture.Part(source, spec), batch_size=_BATCH, threads=threads)
    count = len(info.expressions)
    sums, samples = np.zeros((count + 1, size, size, 3)), np.zeros(count + 1, np.int64)
    for batch in stream:
        image = batch["clip"][:, 0] if clip else batch["image"]
        for row in np.unique(batch["expression"][batch["mask"]]):
            chosen = batch["mask"] & (batch["expression"] == row)
            total = image[chosen].sum(0, dtype=np.float64)
            for place in {int(row), -1} if row >= 0 else {-1}:
                sums[place] += total
                samples[place] += chosen.sum()
    stream.close()
    images = sums / np.maximum(samples, 1)[:, None, None, None]
    images[samples == 0] = 255
    broken = [
        key for kind in (batches.BROKEN_IMAGE, batches.EMPTY_CLIP)
        for key in stream.report.problems.get(kind, ())
    ]  # fmt: skip
    return MeanFaces(
        info.name,
        (*map(facs.class_name, info.expressions), profiles.ALL),
        np.round(images).astype(np.uint8),
        samples,
        len(stream.report.problems.get(batches.NO_LANDMARKS, ())),
        tuple(sorted(broken)),
    )
