"""How fast `aufer predict` is and how much memory it takes, on photographs and on videos.

    python benchmarks/predict.py RUN --photographs faces --video one_face.mp4 --minutes 10

RUN is the folder of a trained run. Each line of the table is one command in a process of its own, with start,
loading and compiling (from the compilation cache where there is one); memory is the most it had resident.
The long video is the short one, over and over. Writes docs/results/predict.md.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import cv2

from aufer_jax.report import results
from aufer_jax.runs import Predictor, pictures, video


def run(*words: str) -> tuple[float, float]:
    """Seconds and MB that a command takes."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "aufer_jax.cli", "predict", *words], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command failed: aufer predict {' '.join(words)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def repeated(source: str, target: pathlib.Path, minutes: float) -> str:
    rate, left = video.rate(source), round(minutes * 60 * video.rate(source))
    writer = None
    while left:
        for _, _, image in video.frames(source, print):
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
        sources = {"video": given.video, "photographs, drawn": given.photographs}
        sources |= {"video, drawn": given.video}
        if given.minutes:
            long = repeated(given.video, place / "long.mp4", given.minutes)
            sources[f"video of {given.minutes:g} minutes"] = long
        for name, source in sources.items():
            words = [given.run, source, "--out", str(place / "table.csv")]
            words += ["--draw", str(place / name)] if "drawn" in name else []
            count = pictures.count(pictures.items(source, print))
            seconds, memory = run(*words)
            rows.append(
                {
                    "what": name,
                    "pictures": count,
                    "seconds": seconds,
                    "pictures a second": count / seconds,
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
        "Whole commands, from start to end: starting Python, loading the run and compiling are in them. "
        "The photographs are 22 to 531 pixels large, the video is "
        f"{_size(source)} at {video.rate(source):.0f} frames a second, with one face.",
        heading="aufer predict",
    )


def _size(path: str) -> str:
    image = next(video.frames(path, print))[2]
    return f"{image.shape[1]} x {image.shape[0]}"


if __name__ == "__main__":
    main()
