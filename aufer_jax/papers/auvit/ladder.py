"""How far apart synthetic datasets are in their AUs, by what is to be drawn: no picture is needed for it."""

import functools

import numpy as np

from aufer_jax import facs, synth
from aufer_jax.datasets import profiles

_FACES = 2000  # as many as a run of a study on few labels takes of a dataset
_PRESENT = 1.0  # intensity from which an AU counts


@functools.cache
def distance(one: str, other: str, faces: int = _FACES) -> float:
    """The distance of two datasets that `aufer data bias` gives for their first training faces.

    >>> distance("synth_a", "synth_mix0", 200) < distance("synth_a", "synth_mix100", 200)
    True
    """
    return float(profiles.overall([_profile(one, faces), _profile(other, faces)])[0, 1])


def _profile(name: str, faces: int) -> profiles.Profile:
    """Over the 13 AUs that the paper's datasets share, by the expression labels."""
    made, aus = synth.DIALECTS[name], facs.COMMON_13
    scenes = [synth.image_scene(name, "train", index) for index in range(faces)]
    au = np.array([scene.au for scene in scenes])[:, facs.au_index(synth.AUS, aus)]
    labels = np.array([made.expressions.index(scene.label) for scene in scenes])
    known = np.broadcast_to(np.isin(aus, made.aus), au.shape)
    return profiles.profile(name, made.expressions, aus, labels, au >= _PRESENT, known)
