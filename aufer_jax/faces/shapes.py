"""AUs told from the 52 blendshapes of the face mesh, of the whole face and of each side.

The coefficients are named after what the muscles do, so an AU is read from those that show it; nothing here
is fitted to AU labels. The scale is that of photographs: an AU is at rest where the median face labelled
neutral has it, and full where one face in two hundred has more. `benchmarks/shipped.py` writes both.
"""

from collections.abc import Sequence

import numpy as np

from aufer_jax import facs

SIDES = ("left", "right")  # of the person
BOTH = ("both", *SIDES)

# AU -> its coefficients, those of a side without its name; the value at rest, and when it is full. A minus
# takes away: lips part as far as the jaw opens and the mouth does not stay closed.
_AUS: dict[int, tuple[tuple[str, ...], float, float]] = {
    1: (("browInnerUp",), 0.009, 0.903),
    2: (("browOuterUp",), 0.024, 0.827),
    4: (("browDown",), 0.114, 0.847),
    5: (("eyeWide",), 0.007, 0.124),
    6: (("eyeSquint", "mouthSmile"), 0.008, 0.813),
    7: (("eyeSquint",), 0.367, 0.782),
    10: (("mouthUpperUp",), 0.000, 0.727),
    12: (("mouthSmile",), 0.000, 0.955),
    14: (("mouthDimple",), 0.005, 0.186),
    15: (("mouthFrown",), 0.003, 0.430),
    16: (("mouthLowerDown",), 0.006, 0.915),
    17: (("mouthShrugLower",), 0.006, 0.724),
    18: (("mouthPucker",), 0.012, 0.972),
    20: (("mouthStretch",), 0.003, 0.684),
    22: (("mouthFunnel",), 0.001, 0.078),
    24: (("mouthPress",), 0.025, 0.465),
    25: (("jawOpen", "mouthUpperUp", "mouthLowerDown", "-mouthClose"), 0.029, 1.444),
    26: (("jawOpen",), 0.017, 0.449),
    28: (("mouthRollLower", "mouthRollUpper"), 0.059, 1.015),
    45: (("eyeBlink",), 0.118, 0.677),
}
AUS = tuple(_AUS)
_TOGETHER = (6,)  # shown by their coefficients together: a smile that narrows the eyes


def values(blendshapes: np.ndarray, aus: Sequence[int] = AUS, side: str = "both") -> np.ndarray:
    """What each AU is told from [..., AUs], before it is scaled."""
    return np.stack([_value(np.asarray(blendshapes, np.float32), au, side) for au in aus], -1)


def intensities(
    blendshapes: np.ndarray,
    aus: Sequence[int] = AUS,
    side: str = "both",
    rest: np.ndarray | None = None,
) -> np.ndarray:
    """AU intensities [..., AUs] from 0 to 5.

    Args:
      blendshapes: [..., 52], see `facs.BLENDSHAPES`.
      aus: some of `AUS`.
      side: of the person: "both", "left" or "right"; what has no sides is the same on both.
      rest: the blendshapes [52] of this person at rest; by default the median of many people.
    """
    start = np.array([_AUS[au][1] for au in aus], np.float32)
    full = np.array([_AUS[au][2] for au in aus], np.float32)
    if rest is not None:
        start = values(rest, aus, side)
    span = np.maximum(full - start, 0.1 * full)
    return np.clip(facs.MOST * (values(blendshapes, aus, side) - start) / span, 0, facs.MOST)


def _value(blendshapes: np.ndarray, au: int, side: str) -> np.ndarray:
    """The sum of an AU's coefficients, or the geometric mean where it is shown by them together."""
    parts = [_mean(blendshapes, name.removeprefix("-"), side) for name in _AUS[au][0]]
    if au in _TOGETHER:
        return np.prod(parts, 0) ** (1 / len(parts))
    signs = [-1 if name[0] == "-" else 1 for name in _AUS[au][0]]
    return np.sum([sign * part for sign, part in zip(signs, parts, strict=True)], 0)


def _mean(blendshapes: np.ndarray, name: str, side: str) -> np.ndarray:
    """A coefficient, of one side or the mean of both."""
    if name in facs.BLENDSHAPES:
        return blendshapes[..., facs.BLENDSHAPES.index(name)]
    sides = SIDES if side == "both" else (side,)
    places = [facs.BLENDSHAPES.index(name + one.capitalize()) for one in sides]
    return blendshapes[..., places].mean(-1)
