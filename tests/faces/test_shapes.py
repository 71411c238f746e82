"""AUs told from blendshapes: each from the coefficients named after it, on both sides, at rest."""

import numpy as np
import pytest

from aufer_jax import facs
from aufer_jax.faces import shapes


def face(**coefficients):
    """Blendshapes [52] of which all others are 0."""
    return np.array([coefficients.get(name, 0.0) for name in facs.BLENDSHAPES], np.float32)


def told(blendshapes, **options):
    return dict(zip(shapes.AUS, shapes.intensities(blendshapes, **options).tolist(), strict=True))


SHOWN = {
    1: face(browInnerUp=1),
    4: face(browDownLeft=1, browDownRight=1),
    12: face(mouthSmileLeft=1, mouthSmileRight=1),
    15: face(mouthFrownLeft=1, mouthFrownRight=1),
    45: face(eyeBlinkLeft=1, eyeBlinkRight=1),
}


@pytest.mark.parametrize("au", SHOWN)
def test_a_coefficient_shows_its_au_and_no_other(au):
    found = told(SHOWN[au])
    assert found.pop(au) == 5 and max(found.values()) == 0


def test_aus_of_several_coefficients():
    smile = face(mouthSmileLeft=1, mouthSmileRight=1)
    squint = face(eyeSquintLeft=1, eyeSquintRight=1)
    assert told(smile)[6] == told(squint)[6] == 0 and told(smile + squint)[6] == 5
    assert told(face(jawOpen=0.4))[25] > 1 > told(face(jawOpen=0.4, mouthClose=0.4))[25]


def test_sides_are_the_persons_and_swap_in_the_mirror():
    left = face(mouthSmileLeft=0.8)
    one, other, both = (told(left, side=side)[12] for side in ("left", "right", "both"))
    assert one > 4 and other == 0 and both == pytest.approx(one / 2, rel=0.01)
    mirrored = left[list(facs.BLENDSHAPE_FLIP)]
    assert told(mirrored, side="right")[12] == one and told(mirrored, side="left")[12] == 0
    assert sorted(facs.BLENDSHAPE_FLIP) == list(range(52))


def test_a_persons_rest_is_where_aus_begin():
    rest = face(browDownLeft=0.5, browDownRight=0.5)
    strong = face(browDownLeft=0.8, browDownRight=0.8)
    assert told(rest)[4] > 2 and told(rest, rest=rest)[4] == 0
    assert 0 < told(strong, rest=rest)[4] < told(strong)[4]
    many = shapes.intensities(np.stack([rest, strong]), (4, 12))
    assert many.shape == (2, 2) and many[1, 0] > many[0, 0] and (many[:, 1] == 0).all()
