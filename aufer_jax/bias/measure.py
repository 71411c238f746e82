"""Measures the bias between datasets and writes it: figures, a Markdown table, a JSON file."""

import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.bias import drawings, sources
from aufer_jax.data.records import Source
from aufer_jax.datasets import catalog, profiles
from aufer_jax.datasets.profiles import ALL, Profile
from aufer_jax.errors import UserError
from aufer_jax.report import results
from aufer_jax.report.figures import save

OVERALL = "overall"


def measure(
    datasets: Sequence[str | Source],
    *,
    data_dir: str | os.PathLike | None = None,
    split: str = "train",
    out: str | os.PathLike = "bias",
    aus: str = "common_13",
    threshold: float | None = 1.0,
    size: int = 112,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Compares datasets by the faces and the AUs of their expressions.

    Args:
      datasets: names in the catalog, or sources of records.
      data_dir: where prepared datasets are kept; synthetic ones are prepared on first use.
      split: of the named datasets, or a piece of it such as "train[:1000]".
      out: folder for `bias.md`, `bias.json` and four figures.
      aus: the AUs to compare, a name of `facs.AU_ORDERS`; the paper's 13 by default.
      threshold: intensity from which an AU counts as present; None compares intensities.
      size: of the mean faces, in pixels.
      sizes: other sizes for splits of synthetic datasets.

    Returns:
      The content of `bias.json`.
    """
    order = facs.au_order(aus)
    for name in datasets:
        if isinstance(name, str):
            catalog.info(name, data_dir)
    opened = [
        catalog.source(entry, split, data_dir, sizes=sizes if catalog.is_drawn(entry) else None)
        if isinstance(entry, str)
        else entry
        for entry in datasets
    ]
    if len({source.info.name for source in opened}) < len(opened):
        raise UserError("datasets: each may be named once")
    found = [sources.read_profile(source, order, threshold) for source in opened]
    lacking = without_aus(found)
    if len(lacking) == len(found):
        raise UserError(
            f"datasets: {', '.join(lacking)} have none of the AUs {', '.join(map(str, order))}, by which "
            "datasets are compared; aufer faces aus estimates AUs, aufer data prepare --au takes them"
        )
    faces = [sources.mean_faces(source, size) for source in opened]
    matrices = {
        **{name: profiles.distances(found, name) for name in profiles.shared_expressions(found)},
        OVERALL: profiles.overall(found),
        ALL: profiles.distances(found, ALL),
    }
    what = "mean intensity" if threshold is None else f"share of samples at {threshold:g} or more"
    names = [p.dataset for p in found]
    values = {
        "split": split,
        "labels": what,
        "thresholds": {"similar_below": profiles.SIMILAR, "different_above": profiles.DIFFERENT},
        "without_aus": lacking,
        "datasets": {p.dataset: _dataset(p, f) for p, f in zip(found, faces, strict=True)},
        "distance": {title: _nested(matrix, names) for title, matrix in matrices.items()},
    }
    folder = pathlib.Path(out)
    save(drawings.mean_faces(faces), folder / "mean_faces.png")
    most = facs.MOST if threshold is None else 1.0
    save(drawings.au_faces(found, most), folder / "au_faces.png")
    save(drawings.au_profiles(found, what), folder / "au_profiles.png")
    save(drawings.matrices(matrices, names), folder / "distances.png")
    (folder / "bias.json").write_text(json.dumps(values, indent=1) + "\n")
    (folder / "bias.md").write_text(markdown(found, faces, matrices, values))
    return values


def without_aus(found: Sequence[Profile]) -> list[str]:
    """The datasets that know none of the AUs compared."""
    return [p.dataset for p in found if not p.known.any()]


def _dataset(p: Profile, faces: sources.MeanFaces) -> dict[str, Any]:
    labels = [facs.AUS[au].label for au in p.aus]
    return {
        "faces": int(faces.samples[-1]),
        "faces_without_landmarks": faces.resized,
        "broken_images": list(faces.broken),
        "samples_with_aus": dict(zip(p.rows, p.samples.tolist(), strict=True)),
        "mean": {
            row: dict(zip(labels, _plain(values), strict=True))
            for row, values in zip(p.rows, p.mean, strict=True)
        },
        "known": {
            row: dict(zip(labels, counts.tolist(), strict=True))
            for row, counts in zip(p.rows, p.known, strict=True)
        },
    }


def _plain(values: np.ndarray) -> list[float | None]:
    """JSON has no NaN."""
    return [round(float(v), 6) if np.isfinite(v) else None for v in values]


def _nested(matrix: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    return {
        name: dict(zip(names, _plain(row), strict=True))
        for name, row in zip(names, matrix, strict=True)
    }


def markdown(
    found: Sequence[Profile],
    faces: Sequence[sources.MeanFaces],
    matrices: Mapping[str, np.ndarray],
    values: Mapping[str, Any],
) -> str:
    """The report: samples, distances of every pair, and how the paper reads them."""
    aus = ", ".join(facs.AUS[au].label for au in found[0].aus)
    expressions = [name for name in matrices if name not in (OVERALL, ALL)]
    samples = [
        {"dataset": p.dataset, "without landmarks": f.resized, "broken": len(f.broken)}
        | {
            name: int(p.samples[p.rows.index(name)]) if name in p.rows else "-"
            for name in [*expressions, ALL]
        }
        for p, f in zip(found, faces, strict=True)
    ]
    lacking = without_aus(found)
    pairs = list(itertools.combinations(range(len(found)), 2))
    distances = [
        {"datasets": f"{found[i].dataset}, {found[j].dataset}"}
        | {title: _cell(matrix[i, j]) for title, matrix in matrices.items()}
        for i, j in pairs
    ]
    parts = [
        "# Dataset bias",
        f"Split `{values['split']}`. AUs: {aus}; {values['labels']}.",
        "Samples with AU labels:\n\n" + results.table(samples),
    ]
    if lacking:
        parts.append(
            f"Without any of these AUs, so that no distance is known: {', '.join(lacking)}."
        )
    if pairs:
        parts += [
            f"Cosine distance of mean AU vectors, over the AUs known in both datasets. Below "
            f"{profiles.SIMILAR} two datasets are similar, above {profiles.DIFFERENT} different "
            f"(bold). `{OVERALL}` is the mean over the expressions that both label, `{ALL}` the "
            f"distance of the means over all samples, whatever their expression:\n\n"
            + results.table(distances),
            _summary(matrices, expressions, found, pairs),
        ]
    return "\n\n".join([*parts, *_pictures()]) + "\n"


def _cell(value: float) -> str:
    words = profiles.reading(value)
    if words == "unknown":
        return "-"
    return f"**{value:.3f}**" if words == "different" else f"{value:.3f}"


def _summary(
    matrices: Mapping[str, np.ndarray],
    expressions: Sequence[str],
    found: Sequence[Profile],
    pairs: Sequence[tuple[int, int]],
) -> str:
    """In words: which pairs are how far apart, which expressions agree most and least."""
    lines = []
    for i, j in pairs:
        value = matrices[OVERALL][i, j]
        if np.isfinite(value):
            lines.append(
                f"- {found[i].dataset}, {found[j].dataset}: {value:.3f} overall, "
                f"{profiles.reading(value)}"
            )
    means = {}
    for name in expressions:
        each = np.array([matrices[name][pair] for pair in pairs])
        if np.isfinite(each).any():
            means[name] = float(np.nanmean(each))
    if means:
        near, far = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        lines.append(f"- most alike across datasets: {near}, mean distance {means[near]:.3f}")
        lines.append(f"- least alike: {far}, mean distance {means[far]:.3f}")
    return "\n".join(lines)


def _pictures() -> list[str]:
    return [
        "![Mean faces](mean_faces.png)",
        "![Mean AUs, drawn](au_faces.png)",
        "![Distances](distances.png)",
        "![AU profiles](au_profiles.png)",
    ]
