"""Heatmaps of Action Units: Gaussians around the places where landmarks say the muscles act."""

import dataclasses
import functools
import json
import math
from importlib import resources
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.errors import UserError, unknown
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points, from_five, known

RULES = ("published", "anatomical")
COMBINE = ("max", "sum")

_SIDES = {"left": -1.0, "midline": 0.0, "right": 1.0}  # direction along the eye line
_MOST_ANCHORS = 6
_REACH = 3.0  # sigmas from the image beyond which a centre no longer counts
_LEAST_RULER = 0.4  # of the eye-to-mouth distance; keeps profiles from shrinking the ruler
_FIVE_RULER = 0.561  # of the distance of the eye centres, where the inner corners are unknown


@dataclasses.dataclass(frozen=True)
class HeatmapSpec:
    """How AU heatmaps are drawn.

    Attributes:
      size: height and width of the map, which covers the whole image.
      sigma: width of the Gaussians in rulers (distances of the inner eye corners).
      rules: "published", or "anatomical" centres for AUs 4, 7, 14, 15, 17 and 26.
      combine: "max" over centres and AUs, or "sum" divided by its maximum.
      per_au: one channel for each of `aus` in their order, instead of one for all.
      aus: which AUs are drawn.
      noise: how far a landmark is off before it is drawn, see `misplaced`.

    >>> HeatmapSpec(aus=(6, 12), per_au=True).channels
    2
    """

    size: int = 28
    sigma: float = 0.25
    rules: str = "published"
    combine: str = "max"
    per_au: bool = False
    aus: tuple[int, ...] = facs.HEATMAP_23
    noise: float = 0.0

    def __post_init__(self):
        if self.rules not in RULES:
            raise unknown("heatmap.rules", self.rules, RULES)
        if self.combine not in COMBINE:
            raise unknown("heatmap.combine", self.combine, COMBINE)
        for au in self.aus:
            if str(au) not in _regions():
                raise unknown("heatmap.aus", au, _regions())
        if self.size < 1 or not self.sigma > 0 or not self.aus:
            raise UserError(f"heatmap: size, sigma and aus must be positive, got {self}")
        if not 0 <= self.noise < math.inf:
            raise UserError(f"heatmap.noise: {self.noise} must not be negative")

    @property
    def channels(self) -> int:
        """Of a drawn heatmap: one, or one for each AU."""
        return len(self.aus) if self.per_au else 1


@functools.cache
def _regions() -> dict[str, Any]:
    # AU -> rule set -> [side, anchors (iBUG-68), rulers outwards, rulers down] for each centre, and
    # "five" -> rule set -> [weights of the five points, rulers outwards, rulers down] of the same.
    return json.loads(resources.files("aufer_jax.data").joinpath("au_regions.json").read_text())


@dataclasses.dataclass(frozen=True)
class _Table:
    """The centres of several AUs as arrays: centre n belongs to the AUs of its group."""

    anchors: np.ndarray  # [n, 6] landmark indices
    weights: np.ndarray  # [n, 6] their weights
    offsets: np.ndarray  # [n, 2] rulers along the eye line and down the face
    five_weights: np.ndarray  # [n, 5] of the five points, where no more is known
    five_offsets: np.ndarray  # [n, 2]
    groups: tuple[tuple[int, ...], ...]  # centres of AUs that share them all
    group_of: tuple[int, ...]  # the group of each AU


@functools.cache
def _table(aus: tuple[int, ...], rules: str) -> _Table:
    anchors, weights, offsets = [], [], []
    five_weights, five_offsets, groups, group_of = [], [], [], []
    drawn: dict[str, int] = {}
    for au in aus:
        of_68 = _regions()[str(au)]
        rows, five = (sets.get(rules, sets["published"]) for sets in (of_68, of_68["five"]))
        same = str((rows, five))
        if same not in drawn:
            drawn[same] = len(groups)
            groups.append(tuple(range(len(anchors), len(anchors) + len(rows))))
            for (side, points, out, down), (shares, five_out, five_down) in zip(
                rows, five, strict=True
            ):
                spare = _MOST_ANCHORS - len(points)
                anchors.append([*points, *([points[0]] * spare)])
                weights.append([1 / len(points)] * len(points) + [0] * spare)
                offsets.append([_SIDES[side] * out, down])
                five_weights.append(np.array(shares) / sum(shares))  # six decimals were kept
                five_offsets.append([_SIDES[side] * five_out, five_down])
        group_of.append(drawn[same])
    return _Table(
        np.array(anchors),
        np.array(weights, np.float32),
        np.array(offsets, np.float32),
        np.array(five_weights, np.float32),
        np.array(five_offsets, np.float32),
        tuple(groups),
        tuple(group_of),
    )


def _length(vector, xp):
    return xp.sqrt((vector * vector).sum(-1))


def _of_68(points, table: _Table, xp):
    """Anchors [..., n, 2], the distance of the inner eye corners [...], and the offsets [n, 2]."""
    anchors = (points[..., table.anchors, :] * table.weights[..., None]).sum(-2)
    return anchors, _length(points[..., 42, :] - points[..., 39, :], xp), table.offsets


def _of_five(five, table: _Table, xp):
    """The same of the five points [..., 5, 2]."""
    anchors = (five[..., None, :, :] * table.five_weights[..., None]).sum(-2)
    eyes = _length(five[..., 1, :] - five[..., 0, :], xp)
    return anchors, _FIVE_RULER * eyes, table.five_offsets


def centres(
    landmarks: Any, aus: tuple[int, ...], rules: str = "published", xp: Any = np
) -> tuple[Any, Any, Any]:
    """Where AUs act.

    Args:
      landmarks: iBUG-68 points [..., 68, 2] in pixels; five of them will do, as in `draw`.
      aus: their numbers.
      rules: one of `RULES`.
      xp: numpy or jax.numpy.

    Returns:
      Their centres [..., n, 2] in pixels; the ruler [...]: the distance of the inner eye corners, or 0.4
      of the distance from eyes to mouth corners if that is longer; and whether they are known [...].

    >>> face = from_five(align.template(112))
    >>> places, ruler, known = centres(face, aus=(12,))
    >>> places.round().tolist()  # the mouth corners
    [[42.0, 92.0], [71.0, 92.0]]
    """
    table = _table(aus, rules)
    whole, least = known(landmarks, xp)
    if xp is np and whole.all():  # nearly always so, and on the host a branch costs nothing
        five = five_points(landmarks, xp)
        anchors, ruler, offsets = _of_68(landmarks, table, xp)
    else:
        points = xp.where(xp.isfinite(landmarks), landmarks, xp.zeros_like(landmarks))
        five = five_points(points, xp)
        of_68, of_five = _of_68(points, table, xp), _of_five(five, table, xp)
        each = whole[..., None, None]
        anchors, offsets = (xp.where(each, of_68[i], of_five[i]) for i in (0, 2))
        ruler = xp.where(whole, of_68[1], of_five[1])
    across = five[..., 1, :] - five[..., 0, :]
    drop = (five[..., 3, :] + five[..., 4, :] - five[..., 0, :] - five[..., 1, :]) / 2
    ruler = xp.maximum(ruler, _LEAST_RULER * _length(drop, xp))
    along = across / xp.maximum(_length(across, xp), 1e-6)[..., None]
    down = xp.stack([-along[..., 1], along[..., 0]], -1)
    step = offsets[..., :1] * along[..., None, :] + offsets[..., 1:] * down[..., None, :]
    return anchors + ruler[..., None, None] * step, ruler, least & (ruler > 0)


def misplaced(landmarks: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Landmarks [..., 68, 2] as a detector gives them that errs, instead of the exact ones.

    Each coordinate is off by a Gaussian whose deviation is `noise` times the distance of the eye centres.

    >>> face = from_five(align.template(112))  # its eyes are 35.2 pixels apart
    >>> off = misplaced(face, 0.03, np.random.default_rng(0)) - face
    >>> bool(0.5 < np.nanstd(off) / (0.03 * 35.2) < 1.5)
    True
    """
    five = five_points(landmarks)
    distance = _length(five[..., 1, :] - five[..., 0, :], np)[..., None, None]
    off = noise * distance * rng.standard_normal(landmarks.shape)
    return (landmarks + off).astype(landmarks.dtype)


def drawable(landmarks: Any, xp: Any = np) -> Any:
    """Whether a heatmap can be drawn [...] from landmarks [..., 68, 2]: the five points do.

    >>> bool(drawable(from_five(align.template(112)))), bool(drawable(np.full((68, 2), np.nan)))
    (True, False)
    """
    return centres(landmarks, facs.HEATMAP_23[:1], xp=xp)[2]


def drawn_sigma(spec: HeatmapSpec, image_size: int) -> float:
    """The width of the Gaussians in rulers, as `draw` draws them on an aligned face that fills the image.

    It is the wanted one where a cell of the map is narrow enough for it, else that of a cell.

    >>> drawn_sigma(HeatmapSpec(size=28), 112), round(drawn_sigma(HeatmapSpec(size=14), 112), 2)
    (0.25, 0.4)
    """
    face = from_five(align.template(image_size))
    _, ruler, _ = centres(face, spec.aus[:1], spec.rules)
    return max(spec.sigma, image_size / spec.size / float(ruler))


def draw(landmarks: Any, spec: HeatmapSpec, image_size: int, xp: Any = np) -> tuple[Any, Any]:
    """AU heatmaps of square images.

    The value at a cell is that of the Gaussians at the cell's centre; a Gaussian is never
    narrower than one cell, see `drawn_sigma`. An AU that acts more than three sigmas outside the
    image is left out.

    Args:
      landmarks: iBUG-68 points [..., 68, 2] in the pixels of the image; NaN where unknown. Unless
        all are known, AUs are placed by the five points of `geometry.landmarks.from_five`.
      spec: how to draw.
      image_size: height and width of the image.
      xp: numpy or jax.numpy.

    Returns:
      Heatmaps [..., size, size, channels], float32 from 0 to 1, and whether each is valid [...];
      the map of a face of which not even five points are known is zero and not valid.

    >>> face = from_five(align.template(112))
    >>> heatmap, valid = draw(face, HeatmapSpec(size=7, aus=(12,)), image_size=112)
    >>> heatmap.shape, bool(valid)
    ((7, 7, 1), True)
    >>> [int(row) for row in np.flatnonzero(heatmap.max((1, 2)) > 0.5)]  # at the mouth
    [5, 6]
    """
    landmarks = xp.asarray(landmarks, xp.float32)
    table = _table(spec.aus, spec.rules)
    places, ruler, valid = centres(landmarks, spec.aus, spec.rules, xp)
    cell = image_size / spec.size
    sigma = xp.maximum(spec.sigma * ruler, cell)[..., None, None]
    outside = xp.maximum(xp.maximum(-places, places - (image_size - 1)), 0)
    near = (_length(outside, xp) <= _REACH * sigma[..., 0]) & valid[..., None]
    seen = [near[..., list(members)].any(-1) for members in table.groups for _ in members]

    grid = ((np.arange(spec.size) + 0.5) * cell - 0.5).astype(np.float32)
    # exp(-(dx^2 + dy^2) / 2 sigma^2) is the outer product of these rows and columns.
    rows = xp.exp(-0.5 * ((grid - places[..., 1:]) / sigma) ** 2) * xp.stack(seen, -1)[..., None]
    cols = xp.exp(-0.5 * ((grid - places[..., :1]) / sigma) ** 2)

    combine = xp.maximum if spec.combine == "max" else xp.add
    groups = []
    for members in table.groups:
        maps = [rows[..., n, :, None] * cols[..., n, None, :] for n in members]
        groups.append(functools.reduce(combine, maps))
    if spec.per_au:
        heatmap = xp.stack([groups[g] for g in table.group_of], -1)
    else:
        used = range(len(groups)) if spec.combine == "max" else table.group_of
        heatmap = functools.reduce(combine, [groups[g] for g in used])[..., None]
    if spec.combine == "sum":
        heatmap = heatmap / xp.maximum(heatmap.max((-3, -2), keepdims=True), 1e-6)
    return heatmap, valid
