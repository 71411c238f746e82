"""How what was found is told: JSON, lines of JSON, CSV; and what is told of the network."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

import aufer_jax
from aufer_jax import facs
from aufer_jax.runs import Predictor
from aufer_jax.runs.table import as_csv, join, records
from aufer_jax.serve.limits import Limits
from aufer_jax.serve.worker import Found

FORMATS = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
}
USE = (
    "Research on faces and on methods, annotation that a person checks, teaching, art, and tools that people "
    "turn on for themselves."
)
NOT_FOR = (
    "Decisions about a person. In the European Union it is forbidden to infer emotions of people at work "
    "and in education, except for medical or safety reasons: Regulation (EU) 2024/1689 (AI Act), article "
    "5(1)(f)."
)
LIMITS_OF_IT = (
    "An expression is what a face shows, not what a person feels. Faces turned far away, covered, small or "
    "dark, and children are misread; how the errors differ between age, sex and skin colour has not been "
    "measured."
)


def table(network: Predictor, found: Sequence[Found], problems: Sequence[str], mesh: bool) -> str:
    """The whole answer as JSON."""
    columns = join([part.columns for part in found])
    width, height = found[0].size
    told: dict[str, Any] = {
        "model": network.name,
        "width": width,
        "height": height,
        "rows": records(columns),
        "problems": list(problems),
    }
    if mesh:
        told["mesh"] = [_flat(points) for part in found for points in part.meshes]
    return json.dumps(told, ensure_ascii=False)


def _flat(points: np.ndarray | None) -> list[float] | None:
    """x and y by turns, to a tenth of a pixel."""
    return None if points is None else [round(value, 1) for value in points.ravel().tolist()]


def csv(found: Sequence[Found]) -> str:
    """The rows as a .csv file."""
    return as_csv(join([part.columns for part in found]))


def lines(found: Found) -> str:
    """Some rows, each as a line of JSON."""
    rows = records(found.columns)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def last_line(problems: Sequence[str]) -> str:
    """What stands below the lines of a clip of which something is wrong."""
    return json.dumps({"problems": list(problems)}, ensure_ascii=False) + "\n"


def card(network: Predictor, limits: Limits) -> dict[str, Any]:
    """What is to be known of the network."""
    return {
        "name": network.name,
        "version": aufer_jax.__version__,
        "reads": network.kind,
        "expressions": list(network.expressions),
        "aus": [
            {"number": au, "column": facs.AUS[au].label, "name": facs.AUS[au].name}
            for au in network.aus
        ],
        "intensities": bool(network.aus) and network.calibration.intensities,
        "intended_use": USE,
        "not_for": NOT_FOR,
        "limits_of_it": LIMITS_OF_IT,
        "limits": {
            "body_mb": limits.body,
            "million_pixels": limits.pixels,
            "frames": limits.frames,
        },
    }
