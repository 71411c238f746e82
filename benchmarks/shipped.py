"""From faces to the networks that come with this package, and how good they are on people held out.

    python benchmarks/shipped.py prepare --photographs real_faces.zip   # the datasets `drawn` and `photographs`
    python -m aufer_jax.main --config=configs/shipped_small.py --workdir=runs/small
    python benchmarks/shipped.py ship runs/small small
    python benchmarks/shipped.py accuracy --photographs real_faces.zip --openface openface_au.csv

`prepare` draws faces, finds faces in drawings and photographs with the detector `mesh`, aligns them, and keeps
landmarks, blendshapes and AUs: exact ones of drawings, of photographs those that the blendshapes tell. `ship`
measures the calibration on the validation split and writes weights and card into the package. `accuracy` writes
docs/results/predict.md: the raw pictures of the people of the split `test` through the whole chain.
"""

import argparse
import csv
import pathlib
import tempfile

import numpy as np

from aufer_jax import facs, synth
from aufer_jax.datasets import catalog
from aufer_jax.datasets.prepare import prepare
from aufer_jax.faces import crops, shapes
from aufer_jax.sources.files import Files

DRAWN, PHOTOGRAPHS = "drawn", "photographs"
CLASSES = facs.EXPRESSIONS[:7]
DIALECTS = ("synth_a", "synth_b", "synth_c", "synth_d")
SIZE = 112


def draw(folder: pathlib.Path, each: int) -> None:
    """Pictures of `each` faces of every dialect, and `labels.csv` with their true expressions and AUs."""
    folder.mkdir(parents=True)
    columns = [facs.AUS[au].label for au in synth.AUS]
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "expression", "subject", *columns])
        for name in DIALECTS:
            classes = synth.DIALECTS[name].expressions
            for index in range(each):
                # All AUs are known here: these records are not the dialect's own.
                scene = synth.image_scene(name, "train", index)
                record = synth.image_record(name, "train", index, size=160)
                label = classes[record["true_expression"]]
                if label not in CLASSES:
                    continue
                path = f"{name}/{index:05d}.jpg"
                (folder / name).mkdir(exist_ok=True)
                (folder / path).write_bytes(record["image"])
                table.writerow([path, label, scene.subject, *(f"{x:.3f}" for x in scene.au)])


def make(photographs: str, each: int, data_dir: str | None) -> None:
    """The two datasets, each split by people."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        draw(folder / "pictures", each)
        print(crops.align_folder(folder / "pictures", folder / DRAWN, size=SIZE))
        print(prepare("folder", folder / DRAWN, name=DRAWN, data_dir=data_dir, expressions=CLASSES))
        if photographs:
            print(crops.align_folder(photographs, folder / PHOTOGRAPHS, size=SIZE, aus=True))
            print(
                prepare(
                    "folder", folder / PHOTOGRAPHS, name=PHOTOGRAPHS, data_dir=data_dir,
                    expressions=CLASSES, au=str(folder / PHOTOGRAPHS / crops.AUS), au_confidence=0.5,
                )
            )  # fmt: skip
