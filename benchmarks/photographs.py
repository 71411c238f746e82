"""AU-ViT's question on photographs: do the AUs of other people help where few expression labels are known?

    python benchmarks/photographs.py real_faces.zip openface_au.csv

The first file holds `labels.csv` (file, expression, subject), `landmarks_68.npy` in its order, and images;
the second OpenFace's AUs by file name. A third of the people teach with their expressions, a fifth are
tested, a fifteenth validate; the rest teach through AUs alone. Writes a section of docs/results/auvit.md.
"""

import argparse
import csv
import io
import pathlib
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np

from aufer_jax.datasets import splits
from aufer_jax.datasets.prepare import prepare
from aufer_jax.reproduce import reproduce

# Fear and contempt have nine and five photographs.
EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "disgust", "anger")
# Whole people; a third is left to teach with expressions.
SHARES = {"test": 1 / 5, "validation": 1 / 15, "aux": 2 / 5}
TARGET, AUX = "photographs_third", "photographs_aus"


def write_csv(path: pathlib.Path, rows: Iterable[Mapping[str, str]]) -> str:
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def prepare_both(faces: str, au: str, data_dir: str, seed: int) -> None:
    with zipfile.ZipFile(faces) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        points = np.load(io.BytesIO(archive.read("landmarks_68.npy")))
    rows = [dict(row, index=str(i)) for i, row in enumerate(rows)]
    rows = [row for row in rows if row["expression"] in EXPRESSIONS]
    labels = [EXPRESSIONS.index(row["expression"]) for row in rows]
    roles = splits.assign(labels, [row["subject"] for row in rows], SHARES, seed)
    rows = [dict(row, split=role) for row, role in zip(rows, roles, strict=True)]
    labelled = [row for row in rows if row["split"] != "aux"]
    others = [row for row in rows if row["split"] == "aux"]
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        target = [
            {key: row[key] for key in ("file", "expression", "subject", "split")}
            for row in labelled
        ]
        aux = [{"file": row["file"], "subject": row["subject"], "split": "train"} for row in others]
        for name, table, used in ((TARGET, target, labelled), (AUX, aux, others)):
            landmarks = home / f"{name}.npy"
            np.save(landmarks, points[[int(row["index"]) for row in used]])
            report = prepare(
                "folder",
                faces,
                name=name,
                data_dir=data_dir or None,
                validation=0.0,
                test=0.0,
                labels=write_csv(home / f"{name}.csv", table),
                landmarks=str(landmarks),
                au=au,
                expressions=EXPRESSIONS if name == TARGET else (),
            )
            print("\n".join(str(report).splitlines()[:24]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("faces")
    parser.add_argument("au")
    parser.add_argument("--data-dir", default="", help="default: that of all datasets")
    parser.add_argument("--seed", type=int, default=0, help="of the division of people")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--runs", default="runs/reproduce")
    parser.add_argument("--out", default="docs/results/auvit.md")
    options = parser.parse_args()
    prepare_both(options.faces, options.au, options.data_dir, options.seed)
    names = [pathlib.Path(path).name for path in (options.faces, options.au)]
    reproduce(
        "auvit",
        ["table8"],
        command=f"python benchmarks/photographs.py {' '.join(names)} {' '.join(sys.argv[3:])}".strip(),
        target=TARGET,
        aux=[AUX],
        changes={"data.dir": options.data_dir, "train.epochs": options.epochs},
        runs=options.runs,
        out=options.out,
    )


if __name__ == "__main__":
    main()
