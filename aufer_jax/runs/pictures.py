"""What a user names, arrays, pictures, folders, patterns and videos, as one stream of RGB pictures."""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.faces import crops
from aufer_jax.faces.detect import as_rgb
from aufer_jax.runs import video
from aufer_jax.sources.files import IMAGES, as_text
from aufer_jax.sources.images import Unreadable

Say = Callable[[str], None]  # is told, in one line, what is wrong with a file


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What is in the file of a picture or a video, in memory; which of them it is, its name says.

    Attributes:
      data: all bytes.
      frames: at most so many of a video are read; 0: all.
    """

    data: bytes
    frames: int = 0


# The name of a file, alone or with what is in it, or the name of a picture with its pixels.
Item = tuple[str, np.ndarray | Encoded | None]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, or a frame of a video."""

    file: str
    frame: int  # from 0
    time: float  # seconds from the start of the video
    image: np.ndarray  # RGB uint8 [H, W, 3]


def items(given: Any, say: Say) -> list[Item]:
    """The files and arrays meant by a path, a pattern, a folder, a camera, an array, or a list of these.

    The files of a folder are those in the folders below it too, in the order of their names.
    """
    if isinstance(given, (str, os.PathLike)):
        return [(name, None) for name in _named(os.fspath(given), say)]
    if isinstance(given, np.ndarray):
        if given.ndim == 4:
            return [(f"array {i}", as_rgb(image)) for i, image in enumerate(given)]
        return [("array 0", as_rgb(given))]
    if isinstance(given, Iterable):
        found, arrays = [], 0
        for one in given:
            for name, image in items(one, say):
                found.append((name if image is None else f"array {arrays}", image))
                arrays += image is not None
        return found
    raise UserError(
        f"pictures: got {type(given).__name__}, they must be a path, an array, or a list of these"
    )


def is_video(name: str) -> bool:
    """Whether a name is that of a video file or a camera."""
    return name.lower().endswith(video.SUFFIXES) or video.is_camera(name)


def is_camera(name: str) -> bool:
    """Whether a name is a camera's."""
    return video.is_camera(name)


def count(found: Iterable[Item]) -> int:
    """Pictures and frames, as far as the videos' containers tell."""
    return sum(
        video.length(name) if image is None and is_video(name) else 1 for name, image in found
    )


def stream(found: Iterable[Item], say: Say) -> Iterator[Picture]:
    """The pictures one after another; `say` is told of those that cannot be read."""
    for name, image in found:

        def told(problem: str, name: str = name) -> None:
            say(as_text(f"{name}: {problem}"))

        try:
            if isinstance(image, np.ndarray):
                yield Picture(name, 0, 0.0, image)
            elif is_video(name):
                source, most = (name, 0) if image is None else (image.data, image.frames)
                for number, time, pixels in video.frames(source, told, most):
                    yield Picture(name, number, time, pixels)
            else:
                data = pathlib.Path(name).read_bytes() if image is None else image.data
                yield Picture(name, 0, 0.0, crops.read_image(data))
        except Unreadable as error:
            told(f"not usable, {error}")
        except OSError as error:
            told(f"cannot be read: {error.strerror}")


def _named(path: str, say: Say) -> list[str]:
    if video.is_camera(path):
        return [path]
    place = pathlib.Path(path).expanduser()
    if place.is_dir():
        kinds = (*IMAGES, *video.SUFFIXES)
        found = [
            str(file)
            for file in sorted(place.rglob("*"))
            if file.suffix.lower() in kinds
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(place).parts)
        ]
        if not found:
            say(f"{as_text(path)}: a folder without pictures or videos")
        return found
    if place.exists():
        return [str(place)]
    found = sorted(glob.glob(str(place), recursive=True)) if glob.has_magic(path) else []
    if not found:
        why = "matches no file" if glob.has_magic(path) else "does not exist"
        say(f"{as_text(path)}: {why}")
    named = [name for one in found for name in (_named(one, say) if os.path.isdir(one) else [one])]
    return list(dict.fromkeys(named))  # ** finds a folder and what is in it
