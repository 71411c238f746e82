"""How a network's logits become probabilities and intensities, and what a person's face at rest changes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from aufer_jax import facs

_AT_REST = -3.0  # logit of an AU at rest where nothing is known: a probability of 0.05


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Measured on a validation split; a card keeps it.

    Attributes:
      temperature: expression logits are divided by it.
      shift: what is then added to them: one number, or one for each class, where the classes are expected
        in other shares than the network learned from.
      slope, offset: the probability that an AU is present is sigmoid(slope * logit + offset); one number
        for all AUs, or one for each.
      rest: the usual AU logits of faces at rest.
      intensities: the AU logits were taught intensities: 5 * sigmoid(logit).
    """

    temperature: float = 1.0
    shift: Any = 0.0
    slope: Any = 1.0
    offset: Any = 0.0
    rest: Any = _AT_REST
    intensities: bool = False

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Calibration":
        """What a card says; without a word the logits are those of the probabilities."""
        return cls(**card.get("calibration", {}))

    def presence(self, logits: np.ndarray) -> np.ndarray:
        """The probability of each AU."""
        slope, offset = np.float32(self.slope), np.float32(self.offset)
        return sigmoid(slope * logits + offset)

    def intensity(self, logits: np.ndarray) -> np.ndarray:
        """The intensity of each AU, 0 to 5."""
        return facs.MOST * sigmoid(logits)

    def at_rest(self, logits: np.ndarray) -> np.ndarray:
        """What is added to the AU logits of a person whose faces at rest have these [faces, AUs]."""
        return np.float32(self.rest) - np.median(logits, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function in float32, without overflow."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + 1)
