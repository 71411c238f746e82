"""Heatmaps of Action Units: Gaussians around the places where landmarks say the muscles act."""

import dataclasses
import functools
import json
from importlib import resources
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.suggest import unknown

RULES = ("published", "anatomical")
COMBINE = ("max", "sum")

_SIDES = {"left": -1.0, "midline": 0.0, "right": 1.0}  # direction along the eye line
_MOST_ANCHORS = 6
_REACH = 3.0  # sigmas from the image beyond which a centre no longer counts
_LEAST_RULER = 0.4  # of the eye-to-mouth distance; keeps profiles from shrinking the ruler


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
    """

    size: int = 28
    sigma: float = 0.25
    rules: str = "published"
    combine: str = "max"
    per_au: bool = False
    aus: tuple[int, ...] = facs.HEATMAP_23

    def __post_init__(self):
        if self.rules not in RULES:
            raise unknown("heatmap.rules", self.rules, RULES)
        if self.combine not in COMBINE:
            raise unknown("heatmap.combine", self.combine, COMBINE)
        for au in self.aus:
            if str(au) not in _regions():
                raise unknown("heatmap.aus", au, _regions())
        if self.size < 1 or not self.sigma > 0 or not self.aus:
            raise ValueError(f"heatmap: size, sigma and aus must be positive, got {self}")

    @property
    def channels(self) -> int:
        return len(self.aus) if self.per_au else 1


@functools.cache
def _regions() -> dict[str, Any]:
    # AU -> rule set -> [side, anchors (iBUG-68), rulers outwards, rulers down] for each centre.
    return json.loads(resources.files("aufer_jax.data").joinpath("au_regions.json").read_text())


@dataclasses.dataclass(frozen=True)
class _Centres:
    """The centres of several AUs as arrays: centre n belongs to the AUs of its group."""

    anchors: np.ndarray  # [n, 6] landmark indices
    weights: np.ndarray  # [n, 6] their weights
    offsets: np.ndarray  # [n, 2] rulers along the eye line and down the face
    groups: tuple[tuple[int, ...], ...]  # centres of AUs that share them all
    group_of: tuple[int, ...]  # the group of each AU


@functools.cache
def _centres(aus: tuple[int, ...], rules: str) -> _Centres:
    anchors, weights, offsets, groups, group_of = [], [], [], [], []
    known: dict[str, int] = {}
    for au in aus:
        rule_sets = _regions()[str(au)]
        rows = rule_sets.get(rules, rule_sets["published"])
        if str(rows) not in known:
            known[str(rows)] = len(groups)
            groups.append(tuple(range(len(anchors), len(anchors) + len(rows))))
            for side, points, out, down in rows:
                spare = _MOST_ANCHORS - len(points)
                anchors.append([*points, *([points[0]] * spare)])
                weights.append([1 / len(points)] * len(points) + [0] * spare)
                offsets.append([_SIDES[side] * out, down])
        group_of.append(known[str(rows)])
    return _Centres(
        np.array(anchors),
        np.array(weights, np.float32),
        np.array(offsets, np.float32),
        tuple(groups),
        tuple(group_of),
    )


def _length(vector, xp):
    return xp.sqrt((vector * vector).sum(-1))


def _frame(points, xp):
    """The unit vector along the eye line [..., 2] and the ruler [...]."""
    left, right = points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)
    mouth = (points[..., 48, :] + points[..., 54, :]) / 2
    ruler = _length(points[..., 42, :] - points[..., 39, :], xp)
    ruler = xp.maximum(ruler, _LEAST_RULER * _length(mouth - (left + right) / 2, xp))
    along = right - left
    return along / xp.maximum(_length(along, xp), 1e-6)[..., None], ruler


def _place(points, centres: _Centres, xp):
    """Centres [..., n, 2] and ruler [...] for landmarks [..., 68, 2]."""
    along, ruler = _frame(points, xp)
    down = xp.stack([-along[..., 1], along[..., 0]], -1)
    anchors = (points[..., centres.anchors, :] * centres.weights[..., None]).sum(-2)
    out, below = centres.offsets[:, :1], centres.offsets[:, 1:]
    step = out * along[..., None, :] + below * down[..., None, :]
    return anchors + ruler[..., None, None] * step, ruler


def au_centres(landmarks: Any, au: int, rules: str = "published", xp: Any = np) -> tuple[Any, Any]:
    """Where one AU acts.

    Args:
      landmarks: iBUG-68 points [..., 68, 2] in pixels.
      au: its number.
      rules: one of `RULES`.
      xp: numpy or jax.numpy.

    Returns:
      Its centres [..., n, 2] in pixels, and the ruler [...]: the distance of the inner eye
      corners, or 0.4 of the distance from eyes to mouth corners if that is longer.
    """
    spec = HeatmapSpec(rules=rules, aus=(au,))
    return _place(landmarks, _centres(spec.aus, spec.rules), xp)


def draw(landmarks: Any, spec: HeatmapSpec, image_size: int, xp: Any = np) -> tuple[Any, Any]:
    """AU heatmaps of square images.

    The value at a cell is that of the Gaussians at the cell's centre; a Gaussian is never
    narrower than one cell. An AU that acts more than three sigmas outside the image is left out.

    Args:
      landmarks: iBUG-68 points [..., 68, 2] in the pixels of the image; NaN where unknown.
      spec: how to draw.
      image_size: height and width of the image.
      xp: numpy or jax.numpy.

    Returns:
      Heatmaps [..., size, size, channels], float32 from 0 to 1, and whether each is valid [...];
      the map of a face with any unknown landmark is zero and not valid.
    """
    landmarks = xp.asarray(landmarks, xp.float32)
    known = xp.isfinite(landmarks).all((-2, -1))
    rules = _centres(spec.aus, spec.rules)
    centres, ruler = _place(xp.where(known[..., None, None], landmarks, 0), rules, xp)
    valid = known & (ruler > 0)
    cell = image_size / spec.size
    sigma = xp.maximum(spec.sigma * ruler, cell)[..., None, None]
    outside = xp.maximum(xp.maximum(-centres, centres - (image_size - 1)), 0)
    near = (_length(outside, xp) <= _REACH * sigma[..., 0]) & valid[..., None]
    seen = [near[..., list(members)].any(-1) for members in rules.groups for _ in members]

    grid = ((np.arange(spec.size) + 0.5) * cell - 0.5).astype(np.float32)
    # exp(-(dx^2 + dy^2) / 2 sigma^2) is the outer product of these rows and columns.
    rows = xp.exp(-0.5 * ((grid - centres[..., 1:]) / sigma) ** 2) * xp.stack(seen, -1)[..., None]
    cols = xp.exp(-0.5 * ((grid - centres[..., :1]) / sigma) ** 2)

    combine = xp.maximum if spec.combine == "max" else xp.add
    groups = []
    for members in rules.groups:
        maps = [rows[..., n, :, None] * cols[..., n, None, :] for n in members]
        groups.append(functools.reduce(combine, maps))
    if spec.per_au:
        heatmap = xp.stack([groups[g] for g in rules.group_of], -1)
    else:
        used = range(len(groups)) if spec.combine == "max" else rules.group_of
        heatmap = functools.reduce(combine, [groups[g] for g in used])[..., None]
    if spec.combine == "sum":
        heatmap = heatmap / xp.maximum(heatmap.max((-3, -2), keepdims=True), 1e-6)
    return heatmap, valid
