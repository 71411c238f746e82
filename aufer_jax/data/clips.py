"""Which frames of a clip are read."""

import dataclasses

import numpy as np

from aufer_jax.suggest import unknown

RULES = ("segments", "spread", "pairs", "random")
_PAIR = 2  # neighbouring frames taken at each start by "pairs"


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How frames are chosen.

    Attributes:
      frames: how many are taken; a short clip repeats some.
      rule: "segments" takes one frame of each equal part, at random in training and the middle
        one otherwise. "spread" takes every n/frames-th, in training moved forward by up to
        `frames` - 1 frames each (M3DFEL). "pairs" takes two neighbours in each part (Former-DFER).
        "random" takes any, in order, and in evaluation evenly spaced ones (the DFEW baselines).
    """

    frames: int = 16
    rule: str = "segments"

    def __post_init__(self):
        if self.rule not in RULES:
            raise unknown("clip.rule", self.rule, RULES)
        if self.frames < 1 or (self.rule == "pairs" and self.frames % _PAIR):
            raise ValueError(f"clip.frames: got {self.frames}; must be positive, even for pairs")


def sample(length: int, sampling: Sampling, rng: np.random.Generator | None) -> np.ndarray:
    """The indices [frames] of the frames to read from a clip of `length` frames.

    Without a generator the choice is the fixed one of evaluation.
    """
    if length < 1:
        raise ValueError(f"length: got {length}, an empty clip has no frames to choose from")
    count = sampling.frames
    if sampling.rule == "segments":
        edges = np.arange(count) * length / count
        within = 0.5 if rng is None else rng.random(count)
        return (edges + within * (length / count)).astype(np.int64).clip(0, length - 1)
    if sampling.rule == "spread":
        start = np.arange(count) * length // count
        jitter = 0 if rng is None else rng.integers(0, count, count)
        return np.minimum(start + jitter, length - 1)
    if sampling.rule == "pairs":
        start = _pair_starts(length, count // _PAIR, rng)
        return np.minimum(start[:, None] + np.arange(_PAIR), length - 1).reshape(-1)
    if rng is None:
        return np.linspace(0, length - 1, count).round().astype(np.int64)
    return np.sort(rng.choice(length, count, replace=length < count))


def _pair_starts(length: int, parts: int, rng: np.random.Generator | None) -> np.ndarray:
    if rng is None:
        tick = (length - 1) / parts if length > parts + 1 else 0.0
        return (tick / 2 + tick * np.arange(parts)).astype(np.int64)
    step = (length - 1) // parts
    return np.arange(parts) * step + (rng.integers(0, step, parts) if step else 0)


def video_labels(presence: np.ndarray) -> np.ndarray:
    """AU labels [n] of a video from those of its frames [T, n].

    An AU is present if it is in at least half of the frames (AU-DFER, equation 4).
    """
    return 2 * presence.sum(0) >= len(presence)
