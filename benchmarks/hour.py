"""The first hour of a newcomer, from an empty machine: minutes, memory, and what came out.

    python benchmarks/hour.py --faces real_faces.zip
    python benchmarks/hour.py --faces real_faces.zip --install

FACES is a folder or .zip with a labels.csv (file, expression, subject). Its hour: prepare, train, look,
predict. A newcomer's path is the other: README's first command, its report, then 60 of the pictures, of as
many people, in class folders, without landmarks; they are first found and aligned; the trained network
predicts and serves a page. Every step is a command in a process of its own, as the documentation has them,
with empty folders for data, runs and compiled programs; `--install` also makes an environment and installs
the library into it. Writes docs/results/own_faces.md, after each hour.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
OUT = ROOT / "docs" / "results" / "own_faces.md"
CLASSES = ("neutral", "happiness", "sadness", "surprise", "disgust", "anger")
PHOTOGRAPHS, TRIED = 60, 5  # with labels; and others, that are predicted
RIVALS = ("always saying", "logistic regression")


class Hour:
    """The steps of one hour, in an empty folder."""

    def __init__(self, name: str, folder: pathlib.Path, python: str):
        self.name, self.folder, self.python = name, folder, python
        self.rows: list[dict] = []
        folder.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "AUFER_DATA": str(folder / "data"),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "PYTHONPATH": str(ROOT) if python == sys.executable else "",
        }

    def aufer(self, step: str, words: str, *paths: object) -> None:
        """Takes a step: the command's words, then paths of this machine, which are not written down."""
        command = [self.python, "-m", "aufer_jax.cli", *shlex.split(words), *map(str, paths)]
        self.run(step, f"aufer {words}", command)

    def run(self, step: str, shown: str, command: list[str]) -> None:
        with self.timed(step, shown, command):
            pass

    def serve(self, step: str, words: str, picture: pathlib.Path) -> None:
        """Serves, until the page and one picture have been answered."""
        command = [self.python, "-m", "aufer_jax.cli", *shlex.split(words), "--port", "0"]
        with self.timed(
            step, f"aufer {words}", command, stdout=subprocess.PIPE, text=True
        ) as process:
            said = (re.search(r"http://[\w.]+:\d+", line) for line in process.stdout or ())
            place = next(found[0] for found in said if found)
            upload = urllib.request.Request(f"{place}/v1/predict", picture.read_bytes())
            upload.add_header("Content-Type", "image/jpeg")
            for asked in (f"{place}/", upload):
                with urllib.request.urlopen(asked, timeout=120) as answer:
                    answer.read()
            process.terminate()

    @contextlib.contextmanager
    def timed(
        self, step: str, shown: str, command: list[str], **options
    ) -> Iterator[subprocess.Popen]:
        """A process to its end, then its row of the table."""
        print(f"--- {self.name}, {step}: {shown}", flush=True)
        began = time.perf_counter()
        yield (
            process := subprocess.Popen(command, cwd=self.folder, env=self.environment, **options)
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the command failed: {shown}")
        self.rows.append(
            {
                "step": step,
                "command": f"`{shown}`",
                "minutes": f"{(time.perf_counter() - began) / 60:.1f}",
                "minutes of CPU": f"{(usage.ru_utime + usage.ru_stime) / 60:.1f}",
                "peak, GB": f"{usage.ru_maxrss / 2**20:.2f}",
            }
        )

    def result(self) -> dict:
        """What the run says of itself."""
        run = next((self.folder / "runs").glob("mvfer-*"))
        told = json.loads((run / "conclusion.json").read_text())
        summary = json.loads((run / "summary.json").read_text())
        row = {
            "pictures": self.name,
            "test pictures": told["records"],
            "steps": summary["steps"],
            "test accuracy": f"{told['accuracy']:.3f}",
            "test UAR": f"{told['uar']:.3f}",
        }
        for start in RIVALS:
            found = [(k, v) for k, v in told["rivals"].items() if k.startswith(start)]
            row[f"UAR of {start} ..."] = f"{found[0][1]['uar']:.3f}" if found else "-"
            ahead = found[0][1]["ahead"] if found else None
            row[f"above {start} ..."] = (
                f"{ahead[0]:+.3f} ({ahead[1]:+.3f} to {ahead[2]:+.3f})" if ahead else "-"
            )
        return row


def many(hour: Hour, faces: pathlib.Path, tried: pathlib.Path) -> None:
    """All faces: labels, landmarks and people are known."""
    classes = ",".join(CLASSES)
    hour.aufer(
        "prepare", f"data prepare folder --name faces --expressions {classes} --source", faces
    )
    hour.aufer("train", "train configs/mvfer.py:faces")
    hour.aufer("look", "run explain runs/mvfer-faces --top 32")
    hour.aufer("predict", "predict --model runs/mvfer-faces --out table.csv", tried)


def few(hour: Hour, photographs: pathlib.Path, tried: pathlib.Path) -> None:
    """A newcomer's path: what README says, then some photographs in class folders, and nothing else."""
    words = "python -m aufer_jax.main --config=configs/auvit.py"
    hour.run("README's first command", words, [hour.python, *words.split()[1:]])
    hour.aufer("report", "run report runs/auvit")
    hour.aufer("find faces", "faces align --out crops", photographs)
    hour.aufer("prepare", "data prepare folder --name mine --source crops")
    hour.aufer("train", "train configs/mvfer.py:mine")
    hour.aufer("look", "run explain runs/mvfer-mine --top 32")
    hour.aufer("predict", "predict --model runs/mvfer-mine --out table.csv", tried)
    hour.serve("serve, to the first answer", "serve runs/mvfer-mine", next(tried.iterdir()))


def choose(faces: pathlib.Path, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Pictures of `PHOTOGRAPHS` people in class folders, and of a few others without labels."""

    def read(name: str) -> bytes:
        if faces.is_dir():
            return (faces / name).read_bytes()
        with zipfile.ZipFile(faces) as archive:
            inner = next(i for i in archive.namelist() if i == name or i.endswith(f"/{name}"))
            return archive.read(inner)

    rows = list(csv.DictReader(io.StringIO(read("labels.csv").decode("utf-8-sig"))))
    photographs, tried = folder / "photographs", folder / "tried"
    tried.mkdir(parents=True)
    seen: set[str] = set()
    for label in CLASSES:
        mine = [row for row in rows if row["expression"].lower() == label]
        (photographs / label).mkdir(parents=True)
        wanted = PHOTOGRAPHS // len(CLASSES)
        for row in mine:
            if wanted and row["subject"] not in seen:
                seen.add(row["subject"])
                name = pathlib.PurePosixPath(row["file"]).name
                (photographs / label / name).write_bytes(read(row["file"]))
                wanted -= 1
    for row in rows[:: len(rows) // TRIED][:TRIED]:
        (tried / pathlib.PurePosixPath(row["file"]).name).write_bytes(read(row["file"]))
    return photographs, tried


def write(hours: list[Hour], command: str) -> None:
    for hour in hours:
        note = "Starting Python and compiling are in every step; memory is the most a process had resident."
        results.write_section(
            OUT, f"The hour with {hour.name}", hour.rows, command, note, heading="Own faces"
        )
    note = (
        "Pictures of people who are neither in training nor in validation. Logistic regression reads the "
        "aligned landmarks, every class weighted alike, its penalty chosen on the validation split. Of "
        "`above` the 95 % interval is in brackets, by drawing test pictures again and again within each "
        "class. The labels of the pictures measured are noisy."
    )
    results.write_section(OUT, "What came out", [hour.result() for hour in hours], command, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faces", type=pathlib.Path, required=True)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--only", choices=("many", "few"), help="one of the two hours")
    given = parser.parse_args()
    faces = given.faces.resolve()
    command = "python benchmarks/hour.py --faces FACES" + " --install" * given.install
    with tempfile.TemporaryDirectory() as place:
        folder, python = pathlib.Path(place), sys.executable
        photographs, tried = choose(faces, folder)
        hours = []
        for title, make in (("all pictures", many), (f"{PHOTOGRAPHS} photographs", few)):
            if given.only not in (None, make.__name__):
                continue
            hour = Hour(title, folder / make.__name__, python)
            if given.install and not hours:
                hour.run(
                    "make an environment", "python -m venv .venv", [python, "-m", "venv", ".venv"]
                )
                python = hour.python = str(hour.folder / ".venv" / "bin" / "python")
                hour.environment["PYTHONPATH"] = ""
                pip = [
                    python,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    f"{ROOT}[serve]",
                    "-c",
                    f"{ROOT}/constraints.txt",
                ]
                hour.run("install", "pip install '.[serve]' -c constraints.txt", pip)
            make(hour, faces if make is many else photographs, tried)
            hours.append(hour)
            write(hours, command)


if __name__ == "__main__":
    main()
