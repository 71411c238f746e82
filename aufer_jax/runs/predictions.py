"""What a finished run says of every record, as tables: for tests of two runs, and for readers who count."""

import csv
import dataclasses
import pathlib

import numpy as np

from aufer_jax import facs
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import checkpoints

STATES = {"best": "best", "last": "latest"}  # as a summary names them, and as checkpoints do


def write(workdir: str | pathlib.Path) -> list[pathlib.Path]:
    """Writes `predictions_SPLIT_STATE.csv` for every evaluation split, of the best and the last state.

    Columns: `file` (the record's key), `label` and `predicted` (classes; an unknown label is empty), the
    probability of each class, and of each AU where the network has an AU head. A run without classes has
    none of it.
    """
    predictor = Predictor.load(workdir)
    if not predictor.expressions:
        return []
    written = []
    for state, kind in STATES.items():
        reader = checkpoints.Reader(workdir)
        if reader.latest_step(kind) is None:
            continue
        rest = reader.variables(kind=kind)
        params = rest.pop("params")
        chosen = dataclasses.replace(predictor, params=params, model_state=rest, state=kind)
        for split in predictor.inference.evaluation_splits():
            path = pathlib.Path(workdir) / f"predictions_{split}_{state}.csv"
            _write(chosen, split, path)
            written.append(path)
    return written


def _write(predictor: Predictor, split: str, path: pathlib.Path) -> None:
    heads = ["expression_probability", *["au_probability"] * bool(predictor.aus)]
    found = predictor.collect(split, heads)
    source, names = predictor.split(split).source, predictor.expressions
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        aus = (facs.AUS[au].label for au in predictor.aus)
        writer.writerow(["file", "label", "predicted", *names, *aus])
        for i, row in enumerate(found["row"]):
            label, said = int(found["label"][i]), found["expression_probability"][i]
            probabilities = np.concatenate([found[head][i] for head in heads])
            writer.writerow(
                [
                    source[int(row)]["key"],
                    names[label] if label >= 0 else "",
                    names[int(said.argmax())],
                    *(f"{p:.6g}" for p in probabilities),
                ]
            )


def right(path: str | pathlib.Path) -> dict[str, bool]:
    """file -> whether it was predicted as labelled, of a written table; unlabelled files are left out."""
    with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["file"]: row["predicted"] == row["label"] for row in rows if row["label"]}
