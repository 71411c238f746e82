"""The main job as README gives it, on a machine that has nothing prepared: time and result.

    python benchmarks/main_job.py

Starts the configuration twice with empty folders for data, workdir and compiled programs, the second time
with the data and compiled programs of the first. Writes docs/results/main.md and, for the main job, the
table in README.md.
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
START, END = "<!-- results:main -->", "<!-- /results:main -->"


def start(config: str, workdir: pathlib.Path, cache: pathlib.Path) -> dict[str, str]:
    environment = {
        **os.environ,
        "AUFER_DATA": str(cache / "data"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled"),
    }
    began = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", "aufer_jax.main", f"--config={config}", f"--workdir={workdir}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(process.stdout + process.stderr)
    first_step = re.search(r"first step after ([\d.]+) s", process.stderr)
    summary = json.loads((workdir / "summary.json").read_text())
    return {
        "whole job": f"{seconds:.0f} s",
        "to the first step": f"{first_step[1]} s" if first_step else "?",
        "test accuracy": score(summary, "test_best", "accuracy"),
        "test UAR": score(summary, "test_best", "uar"),
        "test AU F1": score(summary, "test_best", "au_f1"),
        "occluded accuracy": score(summary, "occluded_best", "accuracy"),
    }


def score(summary: dict, split: str, metric: str) -> str:
    value = summary.get(split, {}).get(metric)
    return "-" if value is None else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/auvit.py")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder)
        rows = [
            {"start": name, **start(arguments.config, cache / name, cache)}
            for name in ("first", "second")
        ]
    note = (
        f"`{arguments.config}` without arguments, on synthetic faces (seven classes, chance 0.14). The first "
        "start draws the faces and compiles; the second finds both done. The state is the best of "
        "the validation split."
    )
    command = "python " + " ".join(sys.argv)
    main = arguments.config == parser.get_default("config")
    title = "The main job" if main else f"{arguments.config} without arguments"
    results.write_section(ROOT / "docs" / "results" / "main.md", title, rows, command, note)
    if not main:
        return
    readme = ROOT / "README.md"
    table = f"{START}\n{results.table(rows)}\n\n{results.conditions()}\n{END}"
    readme.write_text(re.sub(f"{START}.*?{END}", lambda _: table, readme.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
