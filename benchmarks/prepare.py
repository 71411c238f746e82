"""What `aufer data prepare folder` costs: images a second, images a second of one core, and peak memory.

    python benchmarks/prepare.py

Writes its section of docs/benchmarks.md. Faces are drawn, so no photographs are needed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import cv2
import numpy as np

from aufer_jax import synth
from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
TITLE = "Preparing a dataset"
DRAWN = 96  # pixels at which faces are drawn, before they are enlarged
VARIANTS = (None, 1, 0, -1)  # flips, so that one drawing gives four pictures of its own
FLAT = 60  # MB by which the peak may rise from the smallest to the largest number of images

NOTE = """Drawn faces as JPEG files of {pixels} x {pixels} ({kilobytes:.0f} kB on average) in two class
folders, in the page cache; each row is one `aufer data prepare folder` in a process of its own. Images a
second are those of the report, over listing, checking, writing and the report itself; a second of CPU counts
the process with all its threads, starting Python included. The peak is the process's resident memory.
Memory: {growth:+.0f} MB from {least} to {most} images, {verdict} (at most {flat})."""


def write_faces(folder: pathlib.Path, count: int, pixels: int) -> float:
    """Writes `count` pictures in two class folders; their mean size in bytes."""
    rng, sizes = np.random.default_rng(0), []
    for number in range(0, count, len(VARIANTS)):
        face = synth.image_record("synth_a", "train", number // len(VARIANTS), size=DRAWN)
        image = cv2.imdecode(np.frombuffer(face["image"], np.uint8), cv2.IMREAD_COLOR)
        image = cv2.resize(image, (pixels, pixels), interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 3, image.shape)  # a camera's, so that files are as large as theirs
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
        for variant, flip in enumerate(VARIANTS[: count - number]):
            flipped = image if flip is None else cv2.flip(image, flip)
            data = cv2.imencode(".jpg", flipped, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
            place = folder / ("happy" if variant % 2 else "sad") / f"{number + variant:06}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            sizes.append(len(data))
    return float(np.mean(sizes))


def take(whole: pathlib.Path, folder: pathlib.Path, count: int) -> pathlib.Path:
    """A source of the first `count` pictures, linked."""
    for path in sorted(whole.rglob("*.jpg"), key=lambda path: path.name)[:count]:
        place = folder / path.relative_to(whole)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, place)
    return folder


def prepare(source: pathlib.Path, data_dir: pathlib.Path, workers: int) -> dict[str, object]:
    """One run of the command; what its report and the system say of it."""
    command = [
        sys.executable,
        "-m",
        "aufer_jax.cli",
        "data",
        "prepare",
        "folder",
        "--name",
        "faces",
    ]
    command += ["--source", str(source), "--data-dir", str(data_dir), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    report = json.loads((data_dir / "faces" / "report.json").read_text("utf-8"))
    seconds, images = report["seconds"], report["images"]
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux kilobytes
    return {
        "images": images,
        "workers": workers,
        "checked/s": images / seconds["checking"],
        "written/s": images / seconds["writing"],
        "images/s": images / sum(seconds.values()),
        "images/s of CPU": images / (usage.ru_utime + usage.ru_stime),
        "peak, MB": usage.ru_maxrss / unit,
    }


def measure(arguments: argparse.Namespace, place: pathlib.Path) -> tuple[list[dict], float]:
    counts = [arguments.images * times for times in (1, 2, 4)]
    size = write_faces(place / "all", counts[-1], arguments.pixels)
    rows = []
    for count, workers in ((counts[0], 1), *((count, 2) for count in counts)):
        folder = place / f"{count}-{workers}"
        source = take(place / "all", folder / "in", count)
        rows.append(prepare(source, folder / "data", workers))
        print(rows[-1], flush=True)
    return rows, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="twice and four times as many too")
    parser.add_argument("--pixels", type=int, default=400, help="height and width of the files")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows, size = measure(arguments, pathlib.Path(place))
    print(results.table(rows))
    first, last = rows[1], rows[-1]
    growth = last["peak, MB"] - first["peak, MB"]
    note = NOTE.format(
        pixels=arguments.pixels,
        kilobytes=size / 1e3,
        growth=growth,
        least=first["images"],
        most=last["images"],
        verdict="flat" if growth <= FLAT else "not flat",
        flat=FLAT,
    )
    results.write_section(arguments.out, TITLE, rows, "python " + " ".join(sys.argv), note)


if __name__ == "__main__":
    main()
