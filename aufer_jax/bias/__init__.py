"""Dataset bias: mean faces, mean AU vectors and AU distances between datasets (AU-ViT, figures 1 to 3)."""

from aufer_jax.bias.measure import measure
from aufer_jax.bias.sources import MeanFaces, mean_faces, read_profile
from aufer_jax.datasets.profiles import (
    Profile,
    cosine_distance,
    distances,
    overall,
    profile,
    reading,
    shared_expressions,
)

__all__ = [
    "MeanFaces",
    "Profile",
    "cosine_distance",
    "distances",
    "mean_faces",
    "measure",
    "overall",
    "profile",
    "read_profile",
    "reading",
    "shared_expressions",
]
