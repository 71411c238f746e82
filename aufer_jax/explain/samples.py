"""Explains the best states of one or two runs on samples of a split, and writes the figures."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.tree_util import Partial

from aufer_jax import errors, models
from aufer_jax.data import batches, loader, mixture
from aufer_jax.explain import attention, panels, score_cam
from aufer_jax.models.registry import Preprocess
from aufer_jax.report.figures import save
from aufer_jax.train import base, loop, setup
from aufer_jax.train import config as config_lib
from aufer_jax.train import workdir as workdir_lib
from aufer_jax.train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Trained:
    """The network of a run with its parameters, and its experiment."""

    name: str
    experiment: Experiment
    model: nn.Module
    variables: Mapping[str, Any]
    preprocess: Preprocess
    apply: Partial  # images [B, H, W, 3] as the network reads them -> named outputs

    def read(self, image: np.ndarray) -> jax.Array:
        """Pixels as the network reads them."""
        return base.normalise(jnp.asarray(image), self.preprocess)


def load(workdir: str | pathlib.Path) -> Trained:
    """The best state of a run on images."""
    run = config_lib.check(workdir_lib.saved_config(workdir))
    architecture = models.architecture(run.model["name"])
    if architecture.input != "image":
        raise errors.UserError(
            f"workdir: the run in {str(workdir)!r} reads clips; images are explained"
        )
    experiment, state, _ = loop.best_state(run, workdir)
    task = experiment.task
    model = setup.create_model(
        dict(run.model), num_classes=len(task.expressions), aus=tuple(task.aus)
    )
    dtype = jnp.dtype(run.train.compute_dtype)

    def apply(params: Any, model_state: Any, x: jax.Array) -> dict[str, jax.Array]:
        return base.forward(model, params, model_state, x, dtype=dtype)[0]

    params = state.evaluated()
    return Trained(
        pathlib.Path(workdir).name,
        experiment,
        model,
        {"params": params, **state.model_state},
        architecture.preprocess,
        Partial(apply, params, state.model_state),
    )


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
    """Writes what one or two runs looked at, and the samples on which two of them disagree.

    `score_cam.png`: faces, with each run's ScoreCAM of the class that it predicts. `attention.png`: the
    attention of transformers, of each stage's last block and rolled out. `better.png` and
    `worse.png`: samples wrong in the first run and right in the second, and the reverse.

    Args:
      workdirs: one or two runs on the same dataset.
      split: of their target dataset.
      count: samples a figure shows.
      layer: whose channels ScoreCAM reads; empty takes the last map or tokens before the head.
      keys: of the records to explain; without them the first of each class, then the second.
      top: how many channels ScoreCAM tries, those of the largest variance; None tries all.
      out: folder to write to; `explain` in the first workdir by default.

    Returns:
      What `explain.json` holds.
    """
    if not 1 <= len(workdirs) <= 2:
        raise errors.UserError(f"workdirs: got {len(workdirs)}, permitted are one or two")
    if count < 1:
        raise errors.UserError(f"count: {count} must be greater than 0")
    runs = [load(workdir) for workdir in workdirs]
    if len(runs) == 2 and runs[0].name == runs[1].name:
        both = zip(runs, workdirs, strict=True)
        runs = [dataclasses.replace(run, name=str(path)) for run, path in both]
    folder = pathlib.Path(out) if out else pathlib.Path(workdirs[0]) / "explain"
    chosen = _select(runs[0].experiment.task.evaluation(split), count, keys)
    samples = [_samples(run, split, chosen) for run in runs]
    _same_records(samples)
    names = runs[0].experiment.task.expressions
    labels = [_name(names, label) for label in samples[0]["expression"]]
    columns, explained = {}, {}
    for run, batch in zip(runs, samples, strict=True):
        used = layer or score_cam.default_layer(jax.eval_shape(run.apply, run.read(batch["image"])))
        heat, predicted = _score_cam(run, batch["image"], used, top)
        said = [_name(names, label) for label in predicted]
        columns[f"{run.name}\n{used}"] = (heat, said)
        explained[run.name] = {"layer": used, "predicted": said}
    save(panels.maps(samples[0]["image"], labels, columns), folder / "score_cam.png")
    columns = {}
    for run, batch in zip(runs, samples, strict=True):
        said = explained[run.name]["predicted"]
        found = _attention(run, batch["image"])
        columns |= {f"{run.name}\n{kind}": (heat, said) for kind, heat in found.items()}
    if columns:
        save(panels.maps(samples[0]["image"], labels, columns), folder / "attention.png")
    part = runs[0].experiment.task.evaluation(split)
    summary = {
        "folder": str(folder),
        "split": split,
        "keys": [part.source[int(i)]["key"] for i in chosen],
        "labels": labels,
        "runs": explained,
    }
    if len(runs) == 2:
        summary["disagreement"] = _disagreement(runs, split, count, folder)
    (folder / "explain.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _select(part: mixture.Part, count: int, keys: Sequence[str]) -> np.ndarray:
    """The rows of a split to show: the named ones, or the first of each class, then the second."""
    if keys:
        places = {part.source[i]["key"]: i for i in range(len(part.source))}
        for key in keys:
            if key not in places:
                raise errors.unknown("keys", key, places)
        return np.array([places[key] for key in keys])
    labels = batches.labels(part)["expression"]
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        same = labels == label
        turn[same] = np.arange(same.sum())
    return np.lexsort((labels, turn))[:count]


def _samples(run: Trained, split: str, rows: np.ndarray) -> batches.Batch:
    part = run.experiment.task.evaluation(split)
    wanted = [batches.Row(part, int(i), None) for i in rows if i < len(part.source)]
    batch, problems = batches.assemble(wanted, part.spec)
    run.experiment.report.add(problems)
    return batch


def _same_records(found: Sequence[Mapping[str, np.ndarray]]) -> None:
    if any(not np.array_equal(found[0]["id"], other["id"]) for other in found):
        raise errors.UserError("workdirs: the two runs are evaluated on different records")


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label >= 0 else "unknown"


def _score_cam(
    run: Trained, image: np.ndarray, layer: str, top: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """ScoreCAM [B, H, W] of the classes predicted, and these [B]."""
    x = run.read(image)
    predicted = _predict(run.apply, x)
    heat = score_cam.score_cam(run.apply, x, layer, predicted, top=top)
    return np.asarray(heat), np.asarray(predicted)


@jax.jit
def _predict(apply: Partial, x: jax.Array) -> jax.Array:
    return jnp.argmax(apply(x)["expression"], -1)


def _attention(run: Trained, image: np.ndarray) -> dict[str, np.ndarray]:
    """Maps [B, h, w]: the last block of every stage, and the rollout of the last stage's blocks."""
    weights = attention.attention_weights(run.model, run.variables, run.read(image))
    if not weights:
        return {}
    matrices = attention.mean_attention(weights)
    tokens = list(weights.values())[-1].shape[-1]
    stage = [block for block in weights.values() if block.shape[-1] == tokens]
    if len(stage) > 1:
        matrices["rollout"] = attention.rollout(stage)
    # With the roles of the two tokens as intended, the expression is read from the second.
    token = int(getattr(run.model, "au_token", None) == "intended")
    return {
        name.removesuffix("/attn"): np.asarray(attention.token_map(matrix, token=token))
        for name, matrix in matrices.items()
    }


def _predictions(run: Trained, split: str) -> dict[str, np.ndarray]:
    """`id`, `expression` and `predicted` of every readable record of a split, with its row."""
    data = run.experiment.run.data
    stream = loader.eval_batches(
        run.experiment.task.evaluation(split),
        batch_size=data.eval_batch_size,
        workers=data.workers,
        threads=data.threads,
    )
    stream.report = run.experiment.report
    found = [
        {
            **{name: batch[name] for name in ("id", "expression", "mask")},
            "predicted": np.asarray(_predict(run.apply, run.read(batch["image"]))),
        }
        for batch in stream
    ]
    stream.close()
    joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    joined["row"] = np.arange(len(joined["mask"]))
    return {name: values[joined["mask"]] for name, values in joined.items()}


def _disagreement(
    runs: Sequence[Trained], split: str, count: int, folder: pathlib.Path
) -> dict[str, Any]:
    """Figures of the samples that one run gets right and the other does not, and how many there are."""
    found = [_predictions(run, split) for run in runs]
    _same_records(found)
    names, labels = runs[0].experiment.task.expressions, found[0]["expression"]
    right = [part["predicted"] == labels for part in found]
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
            (run.name, [_name(names, label) for label in part["predicted"][shown]])
            for run, part in zip(runs, found, strict=True)
        ]
        figure = panels.disagreements(
            image, [_name(names, label) for label in labels[shown]], said[0], said[1], title
        )
        save(figure, folder / f"{name}.png")
    return summary
