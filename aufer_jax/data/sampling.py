"""Which frames of a clip are read."""

import dataclasses

import numpy as np

from aufer_jax.errors import UserError, unknown

RULES = ("segments", "spread", "pairs", "dense", "random")
_PAIR = 2  # neighbouring frames taken at each start by "pairs"


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How frames are chosen.

    Attributes:
      frames: how many are taken; a short clip repeats some.
      rule: "segments" takes one frame of each equal part, at random in training and the middle
        one otherwise. "spread" takes every n/frames-th, in training moved forward by up to
        `frames` - 1 frames each (M3DFEL). "pairs" takes two neighbours in each part (Former-DFER).
        "dense" takes frames `step` apart, in training in a window at a random place (MAE-DFER).
        "random" takes any, in order, and in evaluation evenly spaced ones (the DFEW baselines).
      step: frames from one to the next, of "dense" only.
      views: clips of so many frames that are taken in evaluation, one after another; more than one
        with "dense" only.
    """

    frames: int = 16
    rule: str = "segments"
    step: int = 1
    views: int = 1

    def __post_init__(self):
        if self.rule not in RULES:
            raise unknown("data.sampling", self.rule, RULES)
        if self.frames < 1 or (self.rule == "pairs" and self.frames % _PAIR):
            raise UserError(f"data.frames: got {self.frames}; must be positive, even for pairs")
        for key, value in (("frame_step", self.step), ("test_clips", self.views)):
            if value < 1 or (value > 1 and self.rule != "dense"):
                raise UserError(f"data.{key}: got {value}; more than 1 needs data.sampling 'dense'")

    def choose(self, length: int, rng: np.random.Generator | None, key: str) -> np.ndarray:
        """The frames to read from a record's clip of `length` frames, see `sample`.

        A rule of one's own may go by the record's `key` where evaluation has no generator.
        """
        del key
        return sample(length, self, rng)

    def count(self, train: bool) -> int:
        """Frames of a batch's clips: those of all views."""
        return self.frames * (1 if train else self.views)


def sample(length: int, sampling: Sampling, rng: np.random.Generator | None) -> np.ndarray:
    """The indices of the frames to read from a clip of `length` frames: [frames].

    Without a generator the choice is the fixed one of evaluation: [views * frames].

    >>> sample(30, Sampling(frames=3), None).tolist()
    [5, 15, 25]
    >>> sample(2, Sampling(frames=4), None).tolist()
    [0, 0, 1, 1]
    """
    if length < 1:
        raise UserError(f"length: got {length}, an empty clip has no frames to choose from")
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
    if sampling.rule == "dense":
        return _window(length, sampling, rng) if rng else _windows(length, sampling)
    if rng is None:
        return np.linspace(0, length - 1, count).round().astype(np.int64)
    return np.sort(rng.choice(length, count, replace=length < count))


def _pair_starts(length: int, parts: int, rng: np.random.Generator | None) -> np.ndarray:
    if rng is None:
        tick = (length - 1) / parts if length > parts + 1 else 0.0
        return (tick / 2 + tick * np.arange(parts)).astype(np.int64)
    step = (length - 1) // parts
    return np.arange(parts) * step + (rng.integers(0, step, parts) if step else 0)


def _window(length: int, sampling: Sampling, rng: np.random.Generator) -> np.ndarray:
    """MAE-DFER's training clip: a window of frames * step frames, evenly spaced with both its ends.

    A clip that is not longer is seen whole, and its last frame is repeated.
    """
    count, span = sampling.frames, sampling.frames * sampling.step
    if length > span:
        end = int(rng.integers(span, length))
        places = np.linspace(end - span, end, count)
    else:
        end = length
        seen = np.linspace(0, length, length // sampling.step)
        places = np.concatenate([seen, np.full(count - len(seen), length)])
    return np.clip(places, 0, end - 1).astype(np.int64)


def _windows(length: int, sampling: Sampling) -> np.ndarray:
    """MAE-DFER's test clips: of every step-th frame the first `frames`, the last ones, and between."""
    kept = np.arange(0, length, sampling.step)
    count, views = sampling.frames, sampling.views
    starts = np.linspace(0, max(len(kept) - count, 0), views).astype(np.int64)
    places = (starts[:, None] + np.arange(count)).reshape(-1)
    return kept[np.minimum(places, len(kept) - 1)]
