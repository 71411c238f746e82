"""How many faces are found, how well their eyes are placed, what alignment does with them, how fast.

    python benchmarks/detectors.py faces real_faces.zip
    python benchmarks/detectors.py --video one_face.mp4

The first is a folder of photographs with `landmarks_68.npz`, the second an archive of face crops with
`labels.csv` and `landmarks_68.npy`; both hold points made of MediaPipe's mesh, with pixels counted from the
image's edge. The video is
decoded and read in batches of 16 frames, each frame from scratch. Writes docs/results/detectors.md.
"""

import argparse
import csv
import io
import itertools
import pathlib
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from aufer_jax.faces import chain, crops, detect
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points
from aufer_jax.report import results
from aufer_jax.sources.files import Files

SIZE = 112

# File, RGB image and known landmarks [68, 2], NaN where MediaPipe found no face.
Photograph = tuple[str, np.ndarray, np.ndarray]


def photographs(folder: str) -> list[Photograph]:
    held = np.load(pathlib.Path(folder) / "landmarks_68.npz")
    files = Files(folder)
    return [
        (str(name), crops.read_image(files.read(str(name))), points - 0.5)
        for name, points in zip(held["files"], held["points"], strict=True)
    ]


def face_crops(archive: str, count: int) -> list[Photograph]:
    """Crops chosen by the checksum of their names; all of them where `count` is 0."""
    files = Files(archive)
    rows = list(csv.DictReader(io.StringIO(files.open_text("labels.csv"))))
    points = np.load(io.BytesIO(files.read("landmarks_68.npy")))
    chosen = sorted(range(len(rows)), key=lambda i: zlib.crc32(rows[i]["file"].encode()))
    chosen = chosen[: count or None]
    names = [files.find(rows[i]["file"])[0] for i in chosen]
    return [
        (name, crops.read_image(files.read(name)), points[i] - 0.5)
        for name, i in zip(names, chosen, strict=True)
    ]


def spread(points: Sequence[np.ndarray]) -> str:
    """Median and root mean square distance of the five points from their mean places."""
    stacked = np.stack(points)
    off = np.linalg.norm(stacked - stacked.mean(0), axis=-1) / SIZE
    return f"{100 * np.median(off):.1f} %, {100 * np.sqrt(np.square(off).mean()):.1f} %"


def measure(
    title: str, data: Sequence[Photograph], find: detect.Detector | None, what: str
) -> dict[str, object]:
    """One row; without a detector faces are not aligned but the whole image is resized."""
    errors, moved, ways = [], [], Counter()
    seconds, extra = [], 0
    for name, image, known in data:
        started = time.perf_counter()
        faces = find(image, name) if find else []
        seconds.append(time.perf_counter() - started)
        face = detect.choose(faces, image.shape)
        if not np.isfinite(known).all():
            extra += face is not None
            continue
        five = five_points(known)
        if find is None:
            height, width = image.shape[:2]
            moved.append(align.transform(five, align.resize_matrix(height, width, SIZE)))
        elif face is not None:
            found = five_points(face.landmarks)
            eyes = np.linalg.norm(found[:2] - five[:2], axis=-1).mean()
            errors.append(eyes / np.linalg.norm(five[1] - five[0]))
            ways[face.points] += 1
            moved.append(align.transform(five, align.face_matrix(face.landmarks, SIZE)))
    known_faces = sum(bool(np.isfinite(known).all()) for *_, known in data)
    return {
        "faces": what,
        "detector": title,
        "found": f"{len(errors)} of {known_faces}" if find else "",
        "points by": ", ".join(f"{way} {ways[way]}" for way in detect.POINTS if ways[way]),
        "eye error, mean": _percent(errors, np.mean),
        "median": _percent(errors, np.median),
        "over 10 %": _percent([float(e > 0.1) for e in errors], np.mean),
        "spread: median, rms": spread(moved),
        "ms an image": f"{1000 * np.median(seconds):.0f}" if find and max(seconds) > 1e-3 else "",
        "found beside": extra if find else "",
    }


def frames(video: str) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(video)
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    capture.release()


def follow(video: str) -> dict[str, object]:
    """Decodes a video and reads every frame of it, in batches, as one goes through a file."""
    find = chain.MeshDetector()
    find.read([*itertools.islice(frames(video), chain.BATCHES[-1])])  # compiles
    started, cpu, faces, stream = time.perf_counter(), time.process_time(), [], frames(video)
    while batch := [*itertools.islice(stream, chain.BATCHES[-1])]:
        faces += [len(found) for found in find.read(batch)]
    seconds = time.perf_counter() - started
    return {
        "video": pathlib.Path(video).name,
        "frames": len(faces),
        "with one face": faces.count(1),
        "frames a second": len(faces) / seconds,
        "frames a second of CPU time": len(faces) / (time.process_time() - cpu),
    }


def _percent(values: Sequence[float], of: Callable[[Any], Any]) -> str:
    return f"{100 * of(values):.1f} %" if len(values) else ""


def places(options: argparse.Namespace) -> None:
    """Measures the photographs and the crops."""
    mesh_detector = detect.create("mesh")
    rows = []
    for what, data in (
        ("photographs", photographs(options.folder)),
        ("crops", face_crops(options.archive, options.count)),
    ):
        rows.append(measure("none: the whole image", data, None, what))
        rows.append(measure("mesh", data, mesh_detector, what))
    note = (
        "Photographs: small portraits and film stills; crops: square crops around a face. Both are measured "
        "against the points that MediaPipe 0.10.21 found in them; in one photograph, a dark face half behind "
        "a hand, it found none: faces found there are counted as found beside. Eye error: mean distance of "
        "the two eye centres from the known ones, over the distance of the known ones. Spread: the face is "
        "aligned to 112 x 112 by the detector's points; distance of the known eyes, nose tip and mouth "
        "corners from their mean places, in percent of 112. Faces that were not found are not in a row's "
        "errors. Times are those of a busy machine, one image at a time."
    )
    parts = [pathlib.Path(options.folder).name, pathlib.Path(options.archive).name]
    results.write_section(
        options.out, "Faces found and eyes placed", rows,
        f"python benchmarks/detectors.py {' '.join(parts)}", note, heading="Detectors",
    )  # fmt: skip
    print(results.table(rows))


def speed(options: argparse.Namespace) -> None:
    """Measures the video."""
    rows = [follow(options.video)]
    note = (
        "Decoding, detection, 478 points, 52 blendshapes and pose of every frame, in batches of 16, each "
        "frame from scratch. The last figure is by the time of all cores added up, and so nearly the same on "
        "a busy machine and an idle one: what one core alone would do."
    )
    results.write_section(
        options.out, "A video, frame by frame", rows,
        f"python benchmarks/detectors.py --video {pathlib.Path(options.video).name}", note,
    )  # fmt: skip
    print(results.table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of photographs; goes with the archive")
    parser.add_argument("archive", nargs="?")
    parser.add_argument("--count", type=int, default=0, help="crops of the archive; 0: all")
    parser.add_argument("--video", default="", help="of one face")
    parser.add_argument("--out", default="docs/results/detectors.md")
    options = parser.parse_args()
    if options.archive:
        places(options)
    if options.video:
        speed(options)


if __name__ == "__main__":
    main()
