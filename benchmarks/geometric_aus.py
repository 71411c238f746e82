"""Do AUs estimated from landmarks agree with OpenFace's, on photographs of people that no constant came from?

    python benchmarks/geometric_aus.py real_faces.zip openface_au.csv

The first file holds `labels.csv` (file, expression, subject) and `landmarks_68.npy` in its order; the second
OpenFace's AUs by file name. People with an even checksum of their name tuned the estimator: its values at
rest are the medians over their photographs labelled neutral, and with them measures were chosen. The others
are measured. Writes docs/results/geometric_aus.md.
"""

import argparse
import csv
import io
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.faces import au_files, geometric
from aufer_jax.report import results
from aufer_jax.sources.files import base_name

TUNED, MEASURED = 0, 1  # remainder of the checksum


def half_of(subject: str) -> int:
    return zlib.crc32(subject.encode()) % 2


def auc(present: np.ndarray, score: np.ndarray) -> float:
    """The chance that a face with the AU scores higher than one without; ties count half."""
    values, places, counts = np.unique(score, return_inverse=True, return_counts=True)
    del values
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive, negative = int(present.sum()), int((~present).sum())
    below = ranks[present].sum() - positive * (positive + 1) / 2
    return float(below / (positive * negative))


def load(faces: str, au: str) -> dict[str, Any]:
    """Landmarks, labels, halves and OpenFace's columns of the photographs it succeeded on."""
    with zipfile.ZipFile(faces) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        points = np.load(io.BytesIO(archive.read("landmarks_68.npy")))
    with open(au, newline="", encoding="utf-8") as file:
        found = {row["file"]: row for row in csv.DictReader(file) if float(row["success"]) == 1}
    keep = [i for i, row in enumerate(rows) if base_name(row["file"]) in found]
    theirs = [found[base_name(rows[i]["file"])] for i in keep]
    columns = {
        f"AU{a:02d}_{kind}": np.array([float(row[f"AU{a:02d}_{kind}"]) for row in theirs])
        for a in geometric.AUS
        for kind in "rc"
    }
    return {
        "all": len(rows),
        "points": points[keep],
        "subjects": np.array([rows[i]["subject"] for i in keep]),
        "half": np.array([half_of(rows[i]["subject"]) for i in keep]),
        "neutral": np.array([rows[i]["expression"] == "neutral" for i in keep]),
        "theirs": columns,
    }


def own_neutral(data: dict[str, Any], chosen: np.ndarray) -> np.ndarray:
    """Intensities [n, AUs] of `chosen` against other photographs of the person labelled neutral."""
    out = np.full((len(data["half"]), len(geometric.AUS)), np.nan)
    for i in np.flatnonzero(chosen):
        same = (data["subjects"] == data["subjects"][i]) & data["neutral"]
        same[i] = False
        if same.sum() >= 2:
            out[i] = geometric.intensities(data["points"][i], data["points"][same])
    return out


def row_of(data: dict[str, Any], i: int, ours: np.ndarray, own: np.ndarray) -> dict[str, object]:
    au = geometric.AUS[i]
    tuned, chosen = data["half"] == TUNED, data["half"] == MEASURED
    level, present = (data["theirs"][f"AU{au:02d}_{kind}"] for kind in "rc")
    present = present == 1
    known = np.isfinite(own[:, i])

    def pearson(faces: np.ndarray, values: np.ndarray) -> str:
        return f"{np.corrcoef(values[faces, i], level[faces])[0, 1]:.2f}"

    return {
        "AU": au,
        "name": facs.AUS[au].name,
        "r": pearson(chosen, ours),
        "AUC": f"{auc(present[chosen], ours[chosen, i]):.2f}",
        "r, tuning half": pearson(tuned, ours),
        "AUC, tuning half": f"{auc(present[tuned], ours[tuned, i]):.2f}",
        "r, own neutral": pearson(known, own),
        "r, same faces without": pearson(known, ours),
        "mean": f"{ours[chosen, i].mean():.2f}",
        "OpenFace mean": f"{level[chosen].mean():.2f}",
        "present from 1 on": f"{(ours[chosen, i] >= au_files.PRESENT).mean():.2f}",
        "OpenFace present": f"{present[chosen].mean():.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("faces")
    parser.add_argument("au")
    parser.add_argument("--out", default="docs/results/geometric_aus.md")
    options = parser.parse_args()
    data = load(options.faces, options.au)
    ours = geometric.intensities(data["points"])
    chosen = data["half"] == MEASURED
    own = own_neutral(data, chosen)
    rows = [row_of(data, i, ours, own) for i in range(len(geometric.AUS))]
    people = [len(set(data["subjects"][data["half"] == half])) for half in (TUNED, MEASURED)]
    counts = [int((data["half"] == half).sum()) for half in (TUNED, MEASURED)]
    at_rest = data["points"][(data["half"] == TUNED) & data["neutral"]]
    off = np.abs(np.median(geometric.values(at_rest), 0) - geometric.rest()).max()
    note = (
        f"{data['all']} photographs with 68 points made of MediaPipe's mesh; OpenFace (static image "
        f"models) succeeded on {len(ours)} of them. Tuned on {counts[0]} photographs of {people[0]} "
        f"people, measured on {counts[1]} of {people[1]} others. r: Pearson correlation of the "
        "intensity with OpenFace's AUxx_r; AUC: area under the ROC curve of the intensity for AUxx_c. "
        "Own neutral: against two or more other photographs of the person labelled neutral "
        f"({int(np.isfinite(own[:, 0]).sum())} faces of the measured half, with labels that are noisy; "
        "OpenFace is not given it). The values at rest in the code differ from the tuning half's "
        f"medians by {off:.4f} at most. OpenFace is itself an estimate, not a human coder."
    )
    names = " ".join(pathlib.Path(path).name for path in (options.faces, options.au))
    results.write_section(
        options.out, "Agreement with OpenFace", rows,
        f"python benchmarks/geometric_aus.py {names}", note, heading="AUs estimated from landmarks",
    )  # fmt: skip
    print(results.table(rows))


if __name__ == "__main__":
    main()
