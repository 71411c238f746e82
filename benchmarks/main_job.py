"""The main job as README gives it, on a machine that has nothing prepared: time and result.

    python benchmarks/main_job.py

Starts the configuration twice with empty folders for data, workdir and compiled programs, the second time
with the data and compiled programs of the first. Writes docs/results/main.md
and the table in README.md.
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
    test, occluded = summary["test_best"], summary["occluded_best"]
    return {
        "whole job": f"{seconds:.0f} s",
        "to the first step": f"{first_step[1]} s" if first_step else "?",
        "test accuracy": f"{test['accuracy']:.4f}",
        "test UAR": f"{test['uar']:.4f}",
        "test AU F1": f"{test['au_f1']:.4f}",
        "occluded accuracy": f"{occluded['accuracy']:.4f}",
    }


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
    results.write_section(
        ROOT / "docs" / "results" / "main.md", "The main job", rows, command, note
    )
    readme = ROOT / "README.md"
    table = f"{START}\n{results.table(rows)}\n\n{results.conditions()}\n{END}"
    readme.write_text(re.sub(f"{START}.*?{END}", lambda _: table, readme.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
