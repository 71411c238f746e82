"""How fast `aufer predict` is and how much memory it takes, on photographs and on videos.

    python benchmarks/predict.py RUN --photographs faces --video one_face.mp4 --minutes 10

RUN is the folder of a trained run. Each line of the table is one command in a process of its own, with start,
loading and compiling (from the compilation cache where there is one), of which "one photograph" is an idea;
memory is the most it had resident. CPU time is that of all cores added up, and so nearly the same on a busy
machine. The long video is the short one, over and over, with a border to 640 x 480. Writes
docs/results/predict.md.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from aufer_jax.report import results
from aufer_jax.runs import Predictor, pictures, video


def run(*words: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MB that a command takes."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "aufer_jax.cli", "predict", *words], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command failed: aufer predict {' '.join(words)}")
    seconds = time.perf_counter() - started
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def bordered(image: np.ndarray) -> np.ndarray:
    """Black above and below, up to 640 x 480 for a picture that is 640 wide."""
    spare = max(0, image.shape[1] * 3 // 4 - image.shape[0])
    return cv2.copyMakeBorder(image, spare // 2, spare - spare // 2, 0, 0, cv2.BORDER_CONSTANT)


def repeated(source: str, target: pathlib.Path, minutes: float) -> str:
    rate, left = video.rate(source), round(minutes * 60 * video.rate(source))
    writer = None
    while left:
        for _, _, image in video.frames(source, print):
            image = bordered(image)
            size = (image.shape[1], image.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            writer = writer or cv2.VideoWriter(str(target), code, rate, size)
            writer.write(image[..., ::-1])
            left -= 1
            if not left:
                break
    assert writer is not None
    writer.release()
    return str(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--photographs", required=True, help="a folder")
    parser.add_argument("--video", required=True)
    parser.add_argument("--minutes", type=float, default=10, help="of the long video; 0: none")
    given = parser.parse_args()
    network = Predictor.load(given.run)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        one = next(name for name, _ in pictures.items(given.photographs, print))
        sources = {"one photograph": one, "photographs, drawn": given.photographs}
        sources["video"] = given.video
        sources |= {"video, drawn": given.video}
        if given.minutes:
            long = repeated(given.video, place / "long.mp4", given.minutes)
            sources[f"video of {given.minutes:g} minutes"] = long
        for name, source in sources.items():
            words = ["--model", given.run, source, "--out", str(place / "table.csv")]
            words += ["--draw", str(place / name)] if "drawn" in name else []
            count = pictures.count(pictures.items(source, print))
            seconds, cpu, memory = run(*words)
            rows.append(
                {
                    "what": name,
                    "pictures": count,
                    "seconds": seconds,
                    "pictures a second": count / seconds,
                    "CPU ms a picture": 1000 * cpu / count,
                    "peak MB": memory,
                }
            )
            print(rows[-1], flush=True)
            write(network, given.video, rows)


def write(network: Predictor, source: str, rows: list[dict]) -> None:
    """The section so far: the long video takes a while."""
    kind = f"{network.run.model['name']}, {network.size} px" if network.run else network.name
    results.write_section(
        pathlib.Path(__file__).parents[1] / "docs" / "results" / "predict.md",
        f"Time and memory: {kind}",
        rows,
        "python benchmarks/predict.py RUN --photographs DIR --video FILE",
        "Whole commands, from start to end: starting Python, loading the run and compiling are in them; CPU "
        "time is that of all cores added up. "
        "The photographs are 22 to 531 pixels large, the video is "
        f"{_size(source)} at {video.rate(source):.0f} frames a second, with one face.",
        heading="aufer predict",
    )


def _size(path: str) -> str:
    image = next(video.frames(path, print))[2]
    return f"{image.shape[1]} x {image.shape[0]}"


if __name__ == "__main__":
    main()
