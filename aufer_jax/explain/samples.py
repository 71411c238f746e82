"""Explains the best states of up to four runs on samples of a split, and writes the figures."""

import dataclasses
import difflib
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from aufer_jax import errors, remote
from aufer_jax.data import batches, mixture
from aufer_jax.explain import attention, panels, score_cam
from aufer_jax.models.registry import Preprocess
from aufer_jax.report.figures import save
from aufer_jax.runs import Predictor
from aufer_jax.train.workdir import names as short_names

MOST = 4  # runs beside each other, as in AU-ViT's figure 8
_NEAREST = 3  # keys that a wrong one's message names


def load(workdir: str | pathlib.Path) -> Predictor:
    """The best state of a run on images."""
    run = Predictor.load(workdir)
    run.need_classes("workdir")
    if run.kind != "image":
        raise errors.UserError(
            f"workdir: the run in {str(workdir)!r} reads clips; images are explained"
        )
    return run


def explain(
    workdirs: Sequence[str | pathlib.Path],
    *,
    split: str = "test",
    count: int = 8,
    layer: str = "",
    keys: Sequence[str] = (),
    top: int | None = None,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Writes what up to four runs looked at, and the samples on which two of them disagree.

    `score_cam.png`: faces, with each run's ScoreCAM of the class that it predicts. `attention.png`: the
    attention of transformers, of each stage's last block and rolled out; of more than two runs one map
    each, the last of these. `better.png` and `worse.png`, of two runs: samples wrong in the first one and
    right in the second, and the reverse.

    Args:
      workdirs: one to four runs on the same dataset.
      split: of their target dataset.
      count: samples a figure shows.
      layer: whose channels ScoreCAM reads; empty takes the last map or tokens before the head.
      keys: of the records to explain; without them the first of each class, then the second.
      top: how many channels ScoreCAM tries, those of the largest variance; None tries all.
      out: folder to write to; `explain` in the first workdir by default.

    Returns:
      What `explain.json` holds.
    """
    if count < 1:
        raise errors.UserError(f"count: {count} must be greater than 0")
    runs = _beside(workdirs)
    folder = pathlib.Path(out) if out else remote.copy(workdirs[0]) / "explain"
    shown = _shown(runs, split, count, keys)
    drawn, explained = _figures(runs, shown, layer, top)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")
    summary = {
        "folder": str(folder),
        "split": split,
        "keys": shown.keys,
        "labels": shown.labels,
        "runs": explained,
    }
    if len(runs) == 2:
        summary["disagreement"] = _disagreement(runs, split, count, folder)
    (folder / "explain.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def figures(
    workdirs: Sequence[str | pathlib.Path], split: str, count: int, *, top: int | None = None
) -> dict[str, Figure]:
    """What `explain` draws of runs side by side: `score_cam`, and `attention` where one of them has any."""
    runs = _beside(workdirs)
    return _figures(runs, _shown(runs, split, count, ()), "", top)[0]


def _beside(workdirs: Sequence[str | pathlib.Path]) -> list[Predictor]:
    """The runs, under different names."""
    if not 1 <= len(workdirs) <= MOST:
        raise errors.UserError(f"workdirs: got {len(workdirs)}, one to four can be explained")
    runs = [load(workdir) for workdir in workdirs]
    for run, workdir in zip(runs, workdirs, strict=True):
        if run.expressions != runs[0].expressions:
            raise errors.UserError(f"workdirs: {str(workdir)!r} has other classes than the first")
    both = zip(runs, short_names(workdirs), strict=True)
    return [dataclasses.replace(run, name=name) for run, name in both]


@dataclasses.dataclass(frozen=True)
class _Shown:
    """The records of a figure, as each of the runs reads them."""

    samples: list[batches.Batch]
    keys: list[str]
    labels: list[str]


def _shown(runs: Sequence[Predictor], split: str, count: int, keys: Sequence[str]) -> _Shown:
    part = runs[0].split(split)
    chosen = _select(part, count, keys)
    samples = [_samples(run, split, chosen) for run in runs]
    _same_records(samples)
    labels = [_name(runs[0].expressions, label) for label in samples[0]["expression"]]
    return _Shown(samples, [part.source[int(i)]["key"] for i in chosen], labels)


def _figures(
    runs: Sequence[Predictor], shown: _Shown, layer: str, top: int | None
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """The figures by name, and of each run the layer and what it predicts."""
    cams, attended, explained = {}, {}, {}
    for run, batch in zip(runs, shown.samples, strict=True):
        used = layer or score_cam.default_layer(run.shapes)
        heat, predicted = looked_at(run, batch, used, top)
        said = [_name(run.expressions, label) for label in predicted]
        explained[run.name] = {"layer": used, "predicted": said}
        cams[f"{run.name}\n{used}"] = (heat, said)
        found = list(_attention(run, batch["image"]).items())
        for kind, heat in found[-1:] if len(runs) > 2 else found:
            attended[f"{run.name}\n{kind}"] = (heat, said)
    drawn = {
        name: panels.maps(shown.samples[0]["image"], shown.labels, columns)
        for name, columns in (("score_cam", cams), ("attention", attended))
        if columns
    }
    return drawn, explained


@dataclasses.dataclass(frozen=True)
class Look:
    """Records of a split, and what a run looked at in them."""

    image: np.ndarray  # [B, H, W, 3] uint8
    heat: np.ndarray  # [B, H, W] ScoreCAM of the predicted classes
    predicted: np.ndarray  # [B]


def look(run: Predictor, split: str, rows: np.ndarray, *, top: int | None = None) -> Look:
    """The ScoreCAM of rows of a split, from the last map or tokens before the head."""
    batch = _samples(run, split, rows)
    heat, predicted = looked_at(run, batch, score_cam.default_layer(run.shapes), top)
    return Look(batch["image"], heat, predicted)


def _select(part: mixture.Part, count: int, keys: Sequence[str]) -> np.ndarray:
    """The rows of a split to show: the named ones, or the first of each class, then the second."""
    if keys:
        places = {part.source[i]["key"]: i for i in range(len(part.source))}
        for key in keys:
            if key not in places:  # they may be people's names, so few are shown
                near = difflib.get_close_matches(key, places, n=_NEAREST, cutoff=0.4)
                hint = f"; the nearest: {', '.join(near)}" if near else ""
                raise errors.UserError(f"keys: no record {key!r} among {len(places)}{hint}")
        return np.array([places[key] for key in keys])
    labels = batches.labels(part)["expression"]
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        same = labels == label
        turn[same] = np.arange(same.sum())
    return np.lexsort((labels, turn))[:count]


def _samples(run: Predictor, split: str, rows: np.ndarray) -> batches.Batch:
    part = run.split(split)
    wanted = [batches.Row(part, int(i), None) for i in rows if i < len(part.source)]
    batch, problems = batches.assemble(wanted, part.spec)
    run.report.add(problems)
    return batch


def _same_records(found: Sequence[Mapping[str, np.ndarray]]) -> None:
    if any(not np.array_equal(found[0]["id"], other["id"]) for other in found):
        raise errors.UserError("workdirs: the runs are evaluated on different records")


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label >= 0 else "unknown"


def looked_at(
    run: Predictor, batch: batches.Batch, layer: str = "", top: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """ScoreCAM [B, H, W] of the classes predicted, and these [B].

    Args:
      run: on images.
      batch: what it reads, as of its records or of `Predictor.example`.
      layer: whose channels are read; empty takes the last map or tokens before the head.
      top: how many channels are tried, those of the largest variance; None tries all.
    """
    layer = layer or score_cam.default_layer(run.shapes)
    predicted = run.apply(batch)["expression"].argmax(-1)
    preprocess = run.inference.preprocess or Preprocess(run.size)
    mean = np.array(preprocess.mean, np.float32) / preprocess.scale
    mean = mean[::-1] if preprocess.order == "BGR" else mean
    beside = {name: batch[name] for name in run.inputs if name != "image"}
    apply = Partial(_outputs(run), run.params, run.model_state, beside)
    x = batch["image"].astype(np.float32)
    heat = score_cam.score_cam(apply, jnp.asarray(x), layer, predicted, top=top, baseline=mean)
    return np.asarray(heat), predicted


@functools.lru_cache(maxsize=2)
def _outputs(run: Predictor) -> Callable[..., Any]:
    """One function for each run, so that ScoreCAM is compiled once for each shape."""

    def outputs(params: Any, model_state: Any, beside: Any, image: jax.Array) -> Any:
        tiled = {
            name: jnp.tile(x, (len(image) // len(x), *[1] * (x.ndim - 1)))
            for name, x in beside.items()
        }
        return run.inference.predict(params, model_state, {**tiled, "image": image})

    return outputs


def _attention(run: Predictor, image: np.ndarray) -> dict[str, np.ndarray]:
    """Maps [B, h, w]: the last block of every stage, and the rollout of the last stage's blocks."""
    weights = {name: jnp.asarray(block) for name, block in run.attention(image).items()}
    if not weights:
        return {}
    matrices = attention.mean_attention(weights)
    tokens = list(weights.values())[-1].shape[-1]
    stage = [block for block in weights.values() if block.shape[-1] == tokens]
    if len(stage) > 1:
        matrices["rollout"] = attention.rollout(stage)
    # With the roles of the two tokens as intended, the expression is read from the second.
    token = int(getattr(run.inference.model, "au_token", None) == "intended")
    return {
        name.removesuffix("/attn"): np.asarray(attention.token_map(matrix, token=token))
        for name, matrix in matrices.items()
    }


def _disagreement(
    runs: Sequence[Predictor], split: str, count: int, folder: pathlib.Path
) -> dict[str, Any]:
    """Figures of the samples that one run gets right and the other does not, and how many there are."""
    found = [run.collect(split, ["expression"]) for run in runs]
    _same_records(found)
    names, labels = runs[0].expressions, found[0]["label"]
    predicted = [part["expression"].argmax(-1) for part in found]
    right = [classes == labels for classes in predicted]
    cases = {
        "better": ("wrong in {0}, right in {1}", ~right[0] & right[1]),
        "worse": ("right in {0}, wrong in {1}", right[0] & ~right[1]),
    }
    summary: dict[str, Any] = {"samples": len(labels)}
    for name, (words, cases_) in cases.items():
        places = np.flatnonzero(cases_ & (labels >= 0))
        summary[name] = len(places)
        if not len(places):
            continue
        shown = places[:count]
        image = _samples(runs[0], split, found[0]["row"][shown])["image"]
        title = f"{words.format(*(run.name for run in runs))}: {len(places)} of {len(labels)}"
        said = [
            (run.name, [_name(names, label) for label in classes[shown]])
            for run, classes in zip(runs, predicted, strict=True)
        ]
        figure = panels.disagreements(
            image, [_name(names, label) for label in labels[shown]], said[0], said[1], title
        )
        save(figure, folder / f"{name}.png")
    return summary
