"""From a finished run to a folder of weights that needs no data and no run: calibrated, in half precision."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special

from aufer_jax import models
from aufer_jax.data import batches
from aufer_jax.errors import UserError
from aufer_jax.evaluate import logistic
from aufer_jax.geometry.landmarks import MESH_FEATURES
from aufer_jax.runs.calibration import Calibration
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import base
from aufer_jax.weights import cards, loading

_FEW = (
    20  # faces with or without an AU below which its probability is calibrated as that of all AUs
)
_SECOND_PENALTY = (
    1e-2  # of the second opinion's weights, chosen on photographs of the validation split
)
_HELD = 1e-2  # how strongly slopes and offsets are held near 1 and 0, in nats a face


def ship(
    run: str | pathlib.Path,
    out: str | pathlib.Path,
    shares: Mapping[str, float] | None = None,
    *,
    second: float = 0.0,
) -> Calibration:
    """Writes the best state of a run into the folder `out`, calibrated on its validation split.

    Args:
      run: its folder.
      out: the folder to write.
      shares: in which the classes are expected where the network is used; by default those of the
        validation split.
      second: the weight of a second opinion, see `with_second_opinion`; 0: none.
    """
    network = Predictor.load(run)
    if network.run is None:
        raise UserError(f"run: {str(run)!r} are converted weights; name the folder of a run")
    if second:
        network = with_second_opinion(network, second)
    assert network.run is not None, "it is still a run's"
    options = dict(network.run.model)
    name = options.pop("name")
    entry, calibration = models.architecture(name), calibrate(network, shares)
    card = {
        "format": loading.FORMAT,
        "model": name,
        "options": {**options, **_heads(network, name)},
        "input": entry.input,
        "preprocess": dataclasses.asdict(entry.preprocess) | {"size": network.size},
        "expressions": network.expressions,
        "aus": network.aus,
        "calibration": {k: _plain(v) for k, v in dataclasses.asdict(calibration).items()},
        "source": {
            "target": network.run.data.target,
            "aux": network.run.data.aux,
            "seed": network.run.seed,
            "step": network.step,
        },
    }
    variables = {"params": network.params, **network.model_state}
    cards.write(pathlib.Path(out), variables, card, np.float16)
    return calibration


def with_second_opinion(network: Predictor, weight: float) -> Predictor:
    """The network, to whose logits those of a logistic regression on the mesh's features are added.

    It is fitted on the training split with every class weighted alike; `weight` is that of its logits.
    """
    assert network.run is not None, "only a run has a training split"
    part = network.split("train")
    labels = batches.labels(part)["expression"]
    features = [part.source[row]["mesh_features"] for row in range(len(part.source))]
    rows = [i for i, told in enumerate(features) if len(told) == MESH_FEATURES and labels[i] >= 0]
    if not rows:
        raise UserError(f"run: {network.run.data.target} has no mesh features; prepare it again")
    x = np.array([features[i] for i in rows], np.float64)
    fitted = logistic.fit(x, labels[rows], len(network.expressions), _SECOND_PENALTY)
    kernel = fitted.weights[:-1] / fitted.deviation[:, None]
    read = {"kernel": weight * kernel, "bias": weight * (fitted.weights[-1] - fitted.mean @ kernel)}
    run = dataclasses.replace(network.run, model={**network.run.model, "mesh_head": True})
    head = {"linear": {name: np.float32(value) for name, value in read.items()}}
    return dataclasses.replace(
        network,
        run=run,
        inference=base.inference(run, network.labels),
        params={**network.params, "mesh_head": head},
    )


def _heads(network: Predictor, name: str) -> dict[str, Any]:
    heads = {"num_classes": len(network.expressions), "aus": network.aus}
    return {key: value for key, value in heads.items() if key in models.options(name)}


def _plain(value: Any) -> Any:
    return np.round(value, 4).tolist() if isinstance(value, np.ndarray) else value


# --- Calibration --------------------------------------------------------------------------------


def calibrate(network: Predictor, shares: Mapping[str, float] | None = None) -> Calibration:
    """What the validation split says of the logits; `shares` as in `ship`."""
    found = _read(network)
    labels = found["expression"][found["expression"] >= 0]
    scale = temperature(found["expression_logits"][found["expression"] >= 0], labels)
    shift: Any = 0.0
    if shares is not None:
        counted = np.bincount(labels, minlength=len(network.expressions)) / len(labels)
        expected = np.array([shares[name] for name in network.expressions])
        shift = np.log(expected / expected.sum()) - np.log(np.maximum(counted, 1 / len(labels)))
    if not network.aus:
        return Calibration(scale, shift)
    logits, present, told = found["au_logits"], found["au"] > 0.5, found["au_known"]
    slope, offset = (np.full(len(network.aus), x) for x in platt(logits[told], present[told]))
    for i, rows in enumerate(told.T):
        if min(present[rows, i].sum(), (~present[rows, i]).sum()) >= _FEW:
            slope[i], offset[i] = platt(logits[rows, i], present[rows, i])
    rest = np.full(len(network.aus), Calibration().rest)
    if "neutral" in network.expressions:
        at_rest = found["expression"] == network.expressions.index("neutral")
        rest = np.median(logits[at_rest], 0)
    assert network.run is not None, "only a run has a validation split"
    intensities = network.run.data.au_labels == "intensity"
    return Calibration(scale, shift, slope, offset, rest, intensities)


def _read(network: Predictor) -> dict[str, np.ndarray]:
    """Labels and logits of all records of the validation split."""
    found = []
    batches = network.read("validation")
    for batch in batches:
        keep = np.flatnonzero(batch["mask"])
        outputs = network.apply(batch)
        part = {name: batch[name][keep] for name in ("expression", "au", "au_known")}
        part |= {f"{n}_logits": outputs[n][keep] for n in ("expression", "au") if n in outputs}
        found.append(part)
    batches.close()
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What logits [n, C] are to be divided by: of Guo et al. 2017."""

    def loss(log_scale: float) -> float:
        log_p = scipy.special.log_softmax(logits / np.exp(log_scale), axis=-1)
        return -float(log_p[np.arange(len(labels)), labels].mean())

    best = scipy.optimize.minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded")
    return round(float(np.exp(best.x)), 4)


def platt(logits: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """Slope and offset [n] of the logits of what is present or not: Platt 1999."""
    sign = np.where(present, 1.0, -1.0)

    def loss(given: np.ndarray) -> float:
        held = _HELD * ((given[0] - 1) ** 2 + given[1] ** 2)
        return float(np.logaddexp(0, -sign * (given[0] * logits + given[1])).mean() + held)

    slope, offset = scipy.optimize.minimize(loss, [1.0, 0.0], method="L-BFGS-B").x
    return float(slope), float(offset)
