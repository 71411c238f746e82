"""Landmarks of photographs that stay as they are, for `aufer data prepare folder --landmarks`."""

import os
import pathlib

import numpy as np
import tqdm

from aufer_jax.data import views
from aufer_jax.errors import UserError
from aufer_jax.faces import crops, detect
from aufer_jax.sources import images


def landmarks(
    source: str | os.PathLike, out: str | os.PathLike, choose: str = "largest"
) -> tuple[int, list[str]]:
    """Writes the 68 points of a face of every photograph, in pixels of its file, into a .npz file.

    Args:
      source: a folder, a .zip or a single image.
      out: the file.
      choose: which face of several, one of `detect.CHOICES`.

    Returns:
      How many have a face, and a line for each of the others.
    """
    path = pathlib.Path(out).expanduser()
    if path.suffix != ".npz":
        raise UserError(f"out: {str(path)!r} must end with .npz")
    files, find = crops.opened(source), detect.create("mesh")
    names = files.images()
    if not names:
        raise UserError(f"source: {source} has no images")
    found, points, without = [], [], []
    for name in tqdm.tqdm(names, "faces", leave=False, mininterval=1, disable=None):
        try:
            data = crops.contents(files, name)
        except images.Unreadable as error:
            without.append(f"{name}: not usable, {error}")
            continue
        checked, plain = images.check(data)
        image = None if checked.problem else views.decode(data if plain is None else plain)
        if image is None:
            without.append(f"{name}: not usable, {checked.problem or 'cannot be decoded'}")
            continue
        face = detect.choose(find(image[..., ::-1], name), image.shape, choose)
        if face is None:
            without.append(f"{name}: no face found")
            continue
        found.append(name)
        points.append(checked.back(face.landmarks))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, files=np.array(found), points=np.array(points, np.float32).reshape(-1, 68, 2)
    )
    return len(found), without
