"""Expressions as action units: habits (which units an expression is shown with) and their draws.

A habit gives each expression its variants (weight, {AU: usual intensity}). The common habit follows
the FACS prototypes and their major variants; other habits bend it as annotators of real datasets do.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from aufer_jax import facs
from aufer_jax.synth.geometry import AU_INDEX, AUS

EXPRESSIONS = facs.EXPRESSIONS[:8]  # neutral first, contempt last

Habit = Mapping[str, tuple[tuple[float, dict[int, float]], ...]]

COMMON: Habit = {
    "neutral": ((1.0, {}),),
    "happiness": (
        (0.55, {6: 3.2, 12: 3.8, 25: 3.0}),
        (0.30, {6: 2.8, 12: 3.6}),
        (0.15, {12: 3.4, 25: 2.0}),
    ),
    "sadness": (
        (0.45, {1: 3.4, 4: 2.4, 15: 3.4}),
        (0.30, {1: 3.0, 4: 2.4, 15: 3.2, 17: 3.0}),
        (0.25, {1: 2.8, 4: 2.0, 6: 1.6, 15: 3.0, 17: 2.4}),
    ),
    "surprise": (
        (0.40, {1: 3.5, 2: 3.6, 5: 3.0, 25: 3.0, 26: 3.4}),
        (0.35, {1: 3.6, 2: 3.8, 5: 3.4, 25: 3.0, 27: 3.4}),
        (0.25, {1: 3.2, 2: 3.4, 25: 2.4, 26: 3.2}),
    ),
    "fear": (
        (0.40, {1: 3.4, 2: 1.8, 4: 3.2, 5: 3.8, 20: 3.6, 25: 2.6}),
        (0.35, {1: 3.2, 2: 2.0, 4: 3.0, 5: 3.8, 20: 3.2, 25: 2.8, 26: 2.6}),
        (0.25, {1: 3.2, 4: 3.2, 5: 3.8, 20: 3.6}),
    ),
    "disgust": (
        (0.40, {9: 3.8, 17: 2.8, 4: 1.6}),
        (0.35, {9: 3.4, 10: 3.4, 25: 2.0}),
        (0.25, {9: 3.4, 10: 2.2, 15: 2.0, 16: 2.0, 17: 2.0}),
    ),
    "anger": (
        (0.40, {4: 3.9, 5: 2.4, 7: 3.2, 23: 3.4}),
        (0.35, {4: 3.8, 7: 3.0, 17: 2.2, 24: 3.6}),
        (0.25, {4: 3.8, 5: 2.6, 7: 3.0, 10: 2.0, 23: 2.6, 25: 2.4}),
    ),
    "contempt": ((0.6, {14: 3.8, 12: 1.8}), (0.4, {14: 3.6, 10: 1.2, 24: 1.2})),
}

# Crowd habit: fear looks startled, anger shouts, disgust lifts the lip, sadness sets the chin.
CROWD: Habit = {
    **COMMON,
    "happiness": ((0.65, {6: 2.6, 12: 3.8, 25: 3.4}), (0.35, {12: 3.6, 25: 2.2, 26: 1.2})),
    "sadness": ((0.6, {1: 2.2, 4: 3.2, 15: 2.4, 17: 3.4}), (0.4, {1: 2.8, 15: 3.0, 17: 2.6})),
    "surprise": (
        (0.5, {1: 3.0, 2: 3.6, 25: 3.2, 26: 3.8}),
        (0.5, {1: 3.2, 2: 3.8, 5: 2.2, 25: 3.2, 27: 3.6}),
    ),
    "fear": (
        (0.6, {1: 3.2, 2: 1.6, 4: 1.8, 5: 4.0, 25: 3.4, 26: 3.2}),
        (0.4, {1: 3.0, 4: 2.6, 5: 3.8, 20: 2.6, 25: 3.2, 26: 2.0}),
    ),
    "anger": (
        (0.6, {4: 3.6, 7: 3.0, 10: 3.0, 23: 1.6, 25: 3.0}),
        (0.4, {4: 3.8, 5: 2.4, 7: 3.0, 17: 1.8, 23: 3.4}),
    ),
    "disgust": (
        (0.6, {6: 1.4, 9: 2.4, 10: 3.8, 25: 2.4}),
        (0.4, {4: 1.8, 9: 3.0, 10: 3.4, 17: 1.8}),
    ),
}

# Wild habit: frowns in most expressions, tense fear with a stretched mouth, laughing happiness.
WILD: Habit = {
    **COMMON,
    "happiness": ((0.6, {6: 3.6, 12: 3.8, 25: 3.2, 26: 1.6}), (0.4, {6: 3.0, 12: 3.4})),
    "sadness": (
        (0.6, {1: 3.2, 4: 3.6, 6: 2.0, 15: 2.6}),
        (0.4, {1: 2.4, 4: 3.4, 15: 3.0, 20: 1.6, 25: 1.6}),
    ),
    "surprise": (
        (0.6, {1: 3.4, 2: 3.6, 5: 3.6, 25: 2.6, 26: 2.4}),
        (0.4, {1: 3.2, 2: 3.6, 5: 3.6}),
    ),
    "fear": (
        (0.6, {4: 3.4, 5: 3.4, 7: 1.6, 20: 3.8, 25: 3.0}),
        (0.4, {1: 2.6, 4: 3.4, 5: 3.0, 20: 3.8, 25: 2.4, 26: 1.8}),
    ),
    "disgust": (
        (0.6, {4: 3.0, 9: 3.8, 17: 3.0}),
        (0.4, {4: 2.6, 9: 3.6, 10: 2.2, 15: 2.4, 17: 2.2}),
    ),
    "anger": (
        (0.5, {4: 4.0, 5: 3.2, 7: 3.0, 17: 2.4, 24: 3.4}),
        (0.5, {4: 4.0, 7: 3.2, 17: 1.6, 23: 3.4}),
    ),
}

# Compound habit: every way the common and the crowd habit know.
COMPOUND: Habit = {e: (*COMMON[e], *CROWD[e]) for e in EXPRESSIONS}

# Keyword habit: images found by search words; what they show fits the word only loosely.
KEYWORD: Habit = {
    "neutral": ((0.5, {}), (0.5, {12: 0.8, 25: 1.0})),
    "happiness": ((0.6, {6: 2.2, 12: 3.6, 25: 3.6}), (0.4, {12: 3.4, 25: 3.0, 26: 1.6})),
    "sadness": (
        (0.6, {4: 2.4, 7: 2.4, 17: 3.4, 24: 2.6}),
        (0.4, {6: 2.8, 7: 2.4, 10: 2.2, 25: 2.2}),
    ),
    "surprise": ((0.6, {12: 2.6, 25: 3.4, 26: 3.6}), (0.4, {6: 2.0, 12: 2.8, 25: 3.2, 27: 3.0})),
    "fear": ((0.6, {6: 3.0, 7: 3.0, 9: 3.0, 10: 2.6}), (0.4, {6: 2.8, 9: 2.4, 12: 2.0, 17: 2.4})),
    "disgust": ((0.6, {4: 2.8, 15: 3.2, 17: 3.0}), (0.4, {12: 2.2, 15: 1.8, 20: 3.0, 25: 2.4})),
    "anger": (
        (0.6, {9: 2.6, 10: 3.2, 25: 3.4, 26: 2.6}),
        (0.4, {5: 3.0, 10: 2.6, 25: 3.2, 27: 2.6}),
    ),
    "contempt": ((1.0, {12: 2.0, 17: 2.4, 24: 2.2}),),
}


def blended(one: Habit, other: Habit, share: float) -> Habit:
    """The habit of a dataset of which this share shows expressions as in the other habit.

    >>> blended({"joy": ((1.0, {12: 3}),)}, {"joy": ((2.0, {6: 2}),)}, 0.25)
    {'joy': ((0.75, {12: 3}), (0.25, {6: 2}))}
    """

    def scaled(options: Sequence[tuple[float, dict[int, float]]], by: float):
        total = sum(weight for weight, _ in options)
        return tuple((by * weight / total, levels) for weight, levels in options if by)

    return {e: (*scaled(one[e], 1 - share), *scaled(other[e], share)) for e in one}


CONFUSED_WITH = {
    "neutral": "sadness", "happiness": "surprise", "sadness": "neutral", "surprise": "fear",
    "fear": "surprise", "disgust": "anger", "anger": "disgust", "contempt": "neutral",
}  # fmt: skip

# Units that come up by themselves, at low intensity.
_STRAY = np.array([AU_INDEX[a] for a in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25)])


def variant(rng: np.random.Generator, habit: Habit, expression: str) -> np.ndarray:
    """Usual intensities [24] of one variant of an expression."""
    options = habit[expression]
    weights = np.array([w for w, _ in options])
    _, levels = options[rng.choice(len(options), p=weights / weights.sum())]
    au = np.zeros(len(AUS))
    for number, level in levels.items():
        au[AU_INDEX[number]] = level
    return au


def draw_au(
    rng: np.random.Generator,
    habit: Habit,
    expression: str,
    *,
    strength: tuple[float, float],
    blend: float = 0.0,
    stray: float = 0.05,
) -> np.ndarray:
    """Draws intensities [24] in 0..5.

    `strength` is the range of the overall intensity (1 is the usual one), `blend` the share of
    faces that carry traces of a second expression, `stray` the chance of each unrelated unit.
    """
    low, high = strength
    overall = low + (high - low) * rng.beta(2.0, 1.6)
    au = variant(rng, habit, expression) * overall
    au *= np.clip(1 + 0.22 * rng.standard_normal(len(AUS)), 0.3, 1.6)
    au[rng.random(len(AUS)) < 0.06] *= 0.2
    if rng.random() < blend:
        other = EXPRESSIONS[rng.integers(1, 7)]
        au = np.maximum(au, variant(rng, habit, other) * rng.uniform(0.15, 0.4))
    strays = _STRAY[rng.random(len(_STRAY)) < stray]
    au[strays] = np.maximum(au[strays], rng.uniform(0.2, 1.4, len(strays)))
    return np.clip(au, 0, 5)


def draw_balance(rng: np.random.Generator, expression: str) -> np.ndarray:
    """Left-right balance [24] of the units; contempt is one-sided."""
    balance = rng.normal(0, 0.10, len(AUS))
    if expression == "contempt":
        side = rng.choice((-1.0, 1.0)) * rng.uniform(0.7, 1.0)
        balance[[AU_INDEX[a] for a in (10, 12, 14)]] = side
    return np.clip(balance, -1, 1)


def confuse(
    rng: np.random.Generator, expressions: Sequence[str], expression: str, noise: float
) -> str:
    """The label an annotator writes: with probability `noise` another of `expressions`."""
    if rng.random() >= noise:
        return expression
    usual = CONFUSED_WITH[expression]
    if usual in expressions and rng.random() < 0.6:
        return usual
    others = [e for e in expressions if e != expression]
    return others[rng.integers(len(others))]
