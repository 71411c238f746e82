"""Landmarks by MediaPipe, here or in an environment of its own.

MediaPipe wants other versions of NumPy and OpenCV than we do. This file needs only MediaPipe and what
that brings, so it can be run where nothing else of ours is installed:

    python mediapipe_detector.py FACES landmarks.npz [--model face_landmarker.task]

FACES is a folder or a .zip. The detector `files` and `aufer data prepare folder --landmarks` read the result.
"""

import argparse
import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from aufer_jax.errors import UserError

INSTALL = "pip install 'aufer-jax[mediapipe]'"
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_MESH = 478


@dataclasses.dataclass(frozen=True)
class MediaPipe:
    """The detector `mediapipe`: 478 points of the face mesh, of which 68 are kept.

    Attributes:
      model: a `.task` file of MediaPipe's FaceLandmarker. Empty takes the face mesh that wheels up
        to 0.10.21 contain.
      most: how many faces are looked for.
      confidence: the least confidence of a face.
    """

    model: str = ""
    most: int = 5
    confidence: float = 0.5

    def __post_init__(self):
        if self.most < 1 or not 0 <= self.confidence <= 1:
            raise UserError(f"mediapipe: got {self}; permitted are most from 1, confidence 0..1")
        run, close = _landmarker(self.model, self.most, self.confidence)
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "close", close)  # frees the networks

    def __call__(self, image: np.ndarray, name: str = "") -> list[Any]:
        from aufer_jax.faces import detect
        from aufer_jax.geometry import landmarks

        del name
        points = [landmarks.from_mesh(mesh) for mesh in self.meshes(detect.as_rgb(image))]
        return [detect.Face(detect.box_of(p), 1.0, p, "landmarks") for p in points]

    def meshes(self, image: np.ndarray) -> np.ndarray:
        """The meshes [faces, 478, 3] of an RGB image, as pixel indices, the largest first.

        A fraction f of the width lies at pixel f * width - 0.5; depth is in pixels too.
        """
        height, width = image.shape[:2]
        found = [[(p.x, p.y, p.z) for p in face] for face in self._run(image)]  # pyright: ignore
        if not found:
            return np.zeros((0, _MESH, 3), np.float32)
        meshes = np.array(found, np.float32)
        meshes = meshes * np.array([width, height, width], np.float32)
        meshes[..., :2] -= 0.5
        spans = meshes[..., :2].max(1) - meshes[..., :2].min(1)
        return meshes[np.argsort(-spans.prod(-1), kind="stable")]


def _landmarker(model: str, most: int, confidence: float) -> tuple[Any, Any]:
    """The function from an RGB image to faces as lists of normalised points, and what ends it."""
    try:
        import mediapipe  # pyright: ignore
    except ImportError as error:
        raise UserError(
            f"detector: MediaPipe is not installed; run: {INSTALL}. Or install mediapipe in an "
            f"environment of its own, run there: python {pathlib.Path(__file__).name} FACES "
            f"landmarks.npz (the file lies in aufer_jax/faces), and use the detector 'files'"
        ) from error
    if model:
        if not os.path.isfile(model):
            raise UserError(f"model: {model!r} is not there; it is a FaceLandmarker .task file")
        return _task(mediapipe, model, most, confidence)
    if not hasattr(mediapipe, "solutions"):
        raise UserError(
            f"model: MediaPipe {mediapipe.__version__} contains no model; name the .task file of "
            f"its FaceLandmarker with model, or use mediapipe 0.10.21 in an environment of its own"
        )
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=most, refine_landmarks=True,
        min_detection_confidence=confidence,
    )  # fmt: skip

    def run(image: np.ndarray) -> list[Any]:
        faces = mesh.process(np.ascontiguousarray(image)).multi_face_landmarks
        return [face.landmark for face in faces or ()]

    return run, mesh.close


def _task(mediapipe: Any, model: str, most: int, confidence: float) -> tuple[Any, Any]:
    from mediapipe.tasks.python import BaseOptions, vision  # pyright: ignore

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), num_faces=most,
        min_face_detection_confidence=confidence,
    )  # fmt: skip
    landmarker = vision.FaceLandmarker.create_from_options(options)

    def run(image: np.ndarray) -> list[Any]:
        data = np.ascontiguousarray(image)
        whole = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=data)
        return landmarker.detect(whole).face_landmarks

    return run, landmarker.close


def _images(source: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the images below a folder or in a .zip."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in _IMAGES:
                yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(_IMAGES):
                yield name, archive.read(name)


def write(source: str, out: str, **options: Any) -> tuple[int, list[str]]:
    """Writes `files` and `points` [n, 478, 3] of the largest face of each image.

    Returns:
      How many images there were, and those without a face or that cannot be read.
    """
    detector = MediaPipe(**options)
    files, points, missed = [], [], []
    count = 0
    for name, data in _images(pathlib.Path(source)):
        count += 1
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        meshes = [] if image is None else detector.meshes(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        if len(meshes):
            files.append(name)
            points.append(meshes[0])
        else:
            missed.append(name)
    detector.close()  # pyright: ignore
    if points:
        np.savez_compressed(out, files=np.array(files), points=np.stack(points))
    return count, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("faces", help="folder or .zip")
    parser.add_argument("out", help=".npz to write")
    parser.add_argument("--model", default="", help="FaceLandmarker .task")
    parser.add_argument("--confidence", type=float, default=0.5)
    given = parser.parse_args()
    try:
        count, missed = write(
            given.faces, given.out, model=given.model, confidence=given.confidence
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(f"{count - len(missed)} of {count} images have a face; written to {given.out}")
    for name in missed:
        print(f"no face: {name}")


if __name__ == "__main__":
    main()
