"""Who a face belongs to: proportions, colours, hair, glasses, beard, age."""

from dataclasses import dataclass

import numpy as np

HAIR_STYLES = ("bald", "short", "side", "fringe", "long", "long_fringe", "curly", "bun")
SKINS = np.array(
    [
        (249, 220, 200),
        (240, 203, 178),
        (228, 184, 151),
        (205, 155, 118),
        (172, 120, 86),
        (133, 88, 62),
        (98, 64, 47),
    ],
    np.float32,
)
HAIRS = np.array(
    [(28, 24, 24), (52, 36, 28), (92, 62, 40), (140, 98, 58), (196, 158, 98), (150, 78, 44)],
    np.float32,
)
IRISES = np.array([(66, 42, 28), (96, 66, 38), (92, 112, 66), (86, 122, 150), (110, 124, 132)])
GREY_HAIR = np.array((176, 174, 172), np.float32)


@dataclass(frozen=True)
class Identity:
    """A person. Proportions are in standard deviations from the mean face; colours are RGB."""

    face_width: float = 0.0
    jaw_width: float = 0.0
    chin_length: float = 0.0
    eye_size: float = 0.0
    eye_spacing: float = 0.0
    eye_tilt: float = 0.0
    brow_height: float = 0.0
    brow_tilt: float = 0.0
    brow_arch: float = 0.0
    brow_thickness: float = 0.0
    nose_width: float = 0.0
    nose_length: float = 0.0
    mouth_width: float = 0.0
    mouth_height: float = 0.0
    mouth_curve: float = 0.0
    lip_thickness: float = 0.0
    age: float = 0.2
    skin: tuple[float, float, float] = (236.0, 196.0, 168.0)
    hair: tuple[float, float, float] = (70.0, 48.0, 34.0)
    iris: tuple[float, float, float] = (90.0, 66.0, 42.0)
    shirt: tuple[float, float, float] = (70.0, 92.0, 128.0)
    lip_colour: float = 0.4  # 0 the skin's own red, 1 lipstick
    lashes: float = 0.3
    beard: float = 0.0  # 0 none, below 0.5 stubble, 1 full
    glasses: str = "none"  # none | round | square
    hair_style: str = "short"


PROPORTIONS = tuple(Identity.__dataclass_fields__)[:16]


def _colour(rgb: np.ndarray) -> tuple[float, float, float]:
    r, g, b = np.clip(rgb, 0, 255).tolist()
    return r, g, b


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draws a person; every proportion is a normal deviate clipped at two."""
    proportions = np.clip(rng.standard_normal(len(PROPORTIONS)), -2, 2).tolist()
    tone = rng.uniform(0, len(SKINS) - 1)
    low = int(tone)
    high = min(low + 1, len(SKINS) - 1)
    skin = SKINS[low] + (tone - low) * (SKINS[high] - SKINS[low]) + rng.normal(0, 4, 3)
    age = float(rng.beta(1.3, 2.2))
    hair = HAIRS[rng.integers(2 if tone > 3.5 else len(HAIRS))] * rng.uniform(0.8, 1.2)
    hair = hair + (GREY_HAIR - hair) * max(0.0, (age - 0.55) * rng.uniform(0, 2.2))
    masculine = rng.random() < 0.5
    styles = ("bald", "short", "side", "fringe", "curly") if masculine else HAIR_STYLES[2:]
    glasses = rng.random()
    return Identity(
        **dict(zip(PROPORTIONS, proportions, strict=True)),
        age=age,
        skin=_colour(skin),
        hair=_colour(hair),
        iris=_colour(IRISES[0 if tone > 3.5 else rng.integers(len(IRISES))] + rng.normal(0, 6, 3)),
        shirt=_colour(rng.uniform(30, 220, 3)),
        lip_colour=float(rng.uniform(0.1, 0.35) if masculine else rng.uniform(0.2, 0.9)),
        lashes=float(rng.uniform(0, 0.4) if masculine else rng.uniform(0.4, 1.0)),
        beard=float(rng.uniform(0.15, 1.0) if masculine and rng.random() < 0.4 else 0.0),
        glasses="round" if glasses < 0.08 else "square" if glasses < 0.16 else "none",
        hair_style=str(rng.choice(styles)),
    )
