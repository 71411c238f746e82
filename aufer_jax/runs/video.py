"""A video or a camera as a stream of upright frames and their times; broken ones are counted and skipped."""

import contextlib
import os
import re
import time as clock
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from aufer_jax.sources.files import VIDEOS
from aufer_jax.sources.images import Unreadable, check_size

SUFFIXES = (*VIDEOS, ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts")

CAMERA = "webcam:0"  # stands for the first camera, as webcam:1 for the second

_CAMERA = re.compile(r"webcam:(\d+)")
_BROKEN_AT_ONCE = 50  # so many broken frames in a row are the end
_SHORT = 0.98  # share of the stated frames; containers are often wrong by a few
_RATE = 25.0  # frames a second, where the container does not say


def is_camera(path: str) -> bool:
    """Whether a name is that of a camera, such as webcam:1."""
    return _CAMERA.fullmatch(path) is not None


def length(path: str) -> int:
    """Frames that the container states; 0 where it does not, or cannot be opened."""
    if is_camera(path):
        return 0
    with _opened(path) as capture:
        return _promised(capture)


def rate(path: str) -> float:
    """Frames a second that the container states."""
    if is_camera(path):
        return _RATE
    with _opened(path) as capture:
        return _rate(capture)


def frames(
    path: str | bytes, say: Callable[[str], None], most: int = 0
) -> Iterator[tuple[int, float, np.ndarray]]:
    """The number from 0, the time in seconds and the RGB pixels [H, W, 3] of each frame.

    `path` may be what is in a file, which is then decoded in memory. At most `most` frames are read; 0: all.
    The times are the container's, so a variable rate is followed; they always grow. Frames are turned as
    the container says. `say` is told, at the end, what was broken or missing. A camera's are the clock's.
    """
    with _opened(path) as capture:
        if not capture.isOpened():
            raise Unreadable("no camera" if _live(path) else "cannot be opened as a video")
        size = (capture.get(of) for of in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        check_size(*map(int, size))
        started = clock.monotonic()
        promised, step = _promised(capture), 1 / _rate(capture)
        number, read, broken, failed, time = 0, 0, 0, 0, -step
        while failed < _BROKEN_AT_ONCE:
            if most and read == most:
                if not promised or promised > number:
                    say(f"only the first {most} frames are read")
                return
            whole, image = capture.read()
            if not whole or image is None:
                failed += 1
                continue
            number, broken, failed = number + failed, broken + failed, 0
            stated = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if _live(path):
                stated = clock.monotonic() - started
            time = stated if stated > time else time + step
            yield number, time, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            number, read = number + 1, read + 1
    if not read:
        raise Unreadable("a video without frames that can be decoded")
    if broken:
        say(f"broken frames, skipped: {broken}")
    # Of a variable rate the container states too many frames, but the right end.
    early = number < _SHORT * promised and time + step < _SHORT * promised * step
    if early and not _live(path):
        say(f"ends early, at {time:.2f} s: {number} of {promised} frames")


def _live(path: str | bytes) -> bool:
    return isinstance(path, str) and is_camera(path)


def _promised(capture: cv2.VideoCapture) -> int:
    """Frames that the container states; 0 where it does not, which some answer with a number below 0."""
    return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def _rate(capture: cv2.VideoCapture) -> float:
    stated = capture.get(cv2.CAP_PROP_FPS)
    return stated if 0 < stated < 1000 else _RATE


@contextlib.contextmanager
def _opened(path: str | bytes) -> Iterator[cv2.VideoCapture]:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is said in our words
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    with _named(path) as name:
        found = _CAMERA.fullmatch(name)
        # As bytes: OpenCV crashes on a str with what is not UTF-8.
        given: tuple[Any, ...] = (os.fsencode(name), cv2.CAP_FFMPEG)
        capture = cv2.VideoCapture(int(found[1])) if found else cv2.VideoCapture(*given)
        try:
            yield capture
        finally:
            capture.release()
            cv2.utils.logging.setLogLevel(before)


@contextlib.contextmanager
def _named(source: str | bytes) -> Iterator[str]:
    """A path under which it can be opened; bytes get a file without a name, in memory alone."""
    if isinstance(source, str):
        yield source
        return
    # OpenCV can read from a Python object too, but it then gives up memory without Python's lock and crashes.
    if not hasattr(os, "memfd_create"):
        raise Unreadable("videos in memory can be read on Linux only")
    number = os.memfd_create("video")
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(source)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
