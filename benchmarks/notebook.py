"""The notebook on a machine that has nothing prepared: minutes and result.

    python benchmarks/notebook.py

Runs launch/colab.ipynb whole, with empty folders for data and compiled programs, in this environment, so that
installing is not in it. Writes its section of docs/results/main.md.
"""

import os
import pathlib
import re
import tempfile
import time

import nbclient
import nbformat
import psutil

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    notebook = nbformat.read(ROOT / "launch" / "colab.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "AUFER_DATA": f"{folder}/data",
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/compiled",
            "TMPDIR": folder,
        }
        where = {"metadata": {"path": str(ROOT / "launch")}}
        client = nbclient.NotebookClient(
            notebook, timeout=1200, kernel_name="python3", resources=where
        )
        began, most = time.perf_counter(), 0

        def measure(**_) -> None:
            nonlocal most
            kernel = [p.memory_info() for p in psutil.Process().children(recursive=True)]
            most = max([most, *(m.rss for m in kernel)])

        client.on_cell_executed = measure
        client.execute()
        seconds = time.perf_counter() - began
    printed = "".join(o.text for c in notebook.cells for o in c.get("outputs", []) if "text" in o)
    scores = re.search(r"^accuracy (\S+), uar (\S+), au_f1 (\S+)$", printed, re.MULTILINE)
    shown = re.search(r"^right on (\d+)% of the faces shown$", printed, re.MULTILINE)
    assert scores and shown, printed
    row = {
        "minutes": f"{seconds / 60:.1f}", "memory after a cell, GB": f"{most / 2**30:.2f}",
        "test accuracy": scores[1], "test UAR": scores[2], "test AU F1": scores[3],
        "right of the faces shown": f"{shown[1]} %",
    }  # fmt: skip
    note = "launch/colab.ipynb, all cells, nothing prepared but the library."
    out = ROOT / "docs" / "results" / "main.md"
    results.write_section(out, "The notebook", [row], "python benchmarks/notebook.py", note)


if __name__ == "__main__":
    main()
