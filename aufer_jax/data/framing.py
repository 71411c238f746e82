"""How much of the pictures of a dataset their faces fill, measured by the landmarks in its records."""

import io

import numpy as np
import PIL.Image

from aufer_jax.data import records
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points

_MOST = 64  # records that are measured
_LIMITS = (-0.4, 4.0)  # of a margin


def margin(source: records.Source) -> float:
    """What pictures show around the usual square of a face on each side, as a share of it; 0 where unknown.

    Of faces that were aligned with a margin it is that margin, of others the median of what it would be.
    """
    found = []
    for index in range(min(len(source), _MOST)):
        picture, points = _first(source[index])
        five = five_points(points)
        if not np.isfinite(five).all():
            continue
        try:
            with PIL.Image.open(io.BytesIO(picture)) as header:
                width, height = header.size
        except (OSError, ValueError):  # the loader names it
            continue
        whole = align.resize_matrix(height, width, align.TEMPLATE_SIZE)
        matrix = align.similarity(align.transform(five, whole), align.TEMPLATE)
        found.append((np.hypot(*matrix[:, 0]) - 1) / 2)
    known = [value for value in found if np.isfinite(value)]
    return round(float(np.clip(np.median(known), *_LIMITS)), 3) + 0.0 if known else 0.0


def _first(record: records.Record) -> tuple[bytes, np.ndarray]:
    """The image and its landmarks, or those of a clip's first frame."""
    points = np.asarray(record["landmarks"], np.float64)
    if "image" in record:
        return record["image"], points
    return (record["frames"][0], points[0]) if len(points) else (b"", np.full((68, 2), np.nan))
