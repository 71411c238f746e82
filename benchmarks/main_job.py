"""The main job as README gives it, on a machine that has nothing prepared: time, memory and result.

    python benchmarks/main_job.py
    python benchmarks/main_job.py --beside CHECKOUT --rounds 3

Starts the configuration twice with empty folders for data, workdir and compiled programs, the second time
with the data and compiled programs of the first; with `--beside` so does another version of the library, by
turns. Writes docs/results/main.md and, for the main job, the table in README.md.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
OUT = ROOT / "docs" / "results" / "main.md"
START, END = "<!-- results:main -->", "<!-- /results:main -->"


def start(
    root: pathlib.Path, config: str, workdir: pathlib.Path, cache: pathlib.Path
) -> dict[str, str]:
    """The row of one start of the version in `root`."""
    environment = {
        **os.environ,
        "AUFER_DATA": str(cache / "data"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled"),
        "PYTHONPATH": str(root),
    }
    began = time.perf_counter()
    with workdir.with_suffix(".log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aufer_jax.main", f"--config={config}", f"--workdir={workdir}"],
            cwd=root, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        log.seek(0)
        said = log.read()
    if status:
        raise SystemExit(said)
    compiled = re.search(r"compiled in ([\d.]+) s", said)
    summary = json.loads((workdir / "summary.json").read_text())
    return {
        "whole job": f"{seconds:.0f} s",
        "compiling": f"{compiled[1]} s" if compiled else "-",
        "peak memory": f"{usage.ru_maxrss / 2**20:.2f} GB",
        "test accuracy": score(summary, "test_best", "accuracy"),
        "test UAR": score(summary, "test_best", "uar"),
        "test AU F1": score(summary, "test_best", "au_f1"),
        "occluded accuracy": score(summary, "occluded_best", "accuracy"),
    }


def twice(version: str, root: pathlib.Path, config: str) -> list[dict[str, str]]:
    """The rows of a first and a second start, from nothing."""
    named = {"version": version} if version else {}
    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder)
        return [
            {**named, "start": name, **start(root, config, cache / name, cache)}
            for name in ("first", "second")
        ]


def score(summary: dict, split: str, metric: str) -> str:
    value = summary.get(split, {}).get(metric)
    return "-" if value is None else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/auvit.py")
    parser.add_argument("--beside", type=pathlib.Path, help="a checkout of another version")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    rows, others = [], []
    for _ in range(given.rounds):
        if given.beside:
            others += twice("before", given.beside.resolve(), given.config)
        rows += twice("now" if given.beside else "", ROOT, given.config)
    note = (
        f"`{given.config}` without arguments, on synthetic faces (seven classes, chance 0.14). The first "
        "start draws the faces and compiles; the second finds both done. The state is the best of "
        "the validation split."
    )
    command = "python benchmarks/main_job.py"
    if given.config != parser.get_default("config"):
        title = f"{given.config} without arguments"
        results.write_section(OUT, title, rows, f"{command} --config {given.config}", note)
        return
    if given.beside:
        note += " `before` is another version of the library, run by turns with this one."
        command += f" --beside CHECKOUT --rounds {given.rounds}"
    results.write_section(OUT, "The main job", [*others, *rows], command, note)
    readme = ROOT / "README.md"
    told = [{k: v for k, v in row.items() if k != "version"} for row in rows[-2:]]
    table = f"{START}\n{results.table(told)}\n\n{results.conditions()}\n{END}"
    readme.write_text(re.sub(f"{START}.*?{END}", lambda _: table, readme.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
