"""The runs of a study, before any is made: rows x seeds x folds, each with its configuration and folder."""

import copy
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from aufer_jax import models
from aufer_jax.datasets import assumed, catalog
from aufer_jax.models import ops, table
from aufer_jax.papers.study import Row, Study
from aufer_jax.train import chips, optimizer
from aufer_jax.train import config as config_lib
from aufer_jax.train import workdir as workdir_lib

GPU, SHARE = "H100", 0.35  # for a guess at the time: the share of its peak that training reaches


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that is to be made, or has been."""

    row: Row
    seed: int
    fold: int  # 0: that of the row's configuration
    config: ConfigDict
    workdir: pathlib.Path

    @property
    def finished(self) -> bool:
        """Whether the run has written its summary."""
        return (self.workdir / "summary.json").exists()


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that is to be made, or has been: what a run takes the training faces of a dataset for."""

    by: Planned
    dataset: str

    @property
    def path(self) -> pathlib.Path:
        """Beside what else its run has written."""
        return self.by.workdir / f"labels_{self.dataset}.csv"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The runs of a study in the order in which they are made."""

    starts: tuple[Planned, ...]  # before the others, which begin with their weights or their labels
    runs: tuple[Planned, ...]  # seed by seed: a study that is cut short has whole tables
    tables: tuple[Table, ...] = ()  # of labels, after the starts and before the others

    @property
    def awaited(self) -> tuple[Planned, ...]:
        """The starts with whose weights or labels a run begins that is still to be made."""
        rows = [run.row for run in self.runs if not run.finished]
        names = {first.name for row in rows for first in (row.start, row.labelled_by) if first}
        return tuple(start for start in self.starts if start.row.name in names)

    def of(self, row: str, seed: int) -> list[Planned]:
        """The runs of a row with a seed: one for each fold."""
        return [run for run in self.runs if (run.row.name, run.seed) == (row, seed)]


def plan(
    study: Study,
    folder: str | os.PathLike,
    *,
    seeds: Sequence[int],
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """The runs of every row with every seed, in folders that are named by their configurations.

    So a run that two studies share is made once, and a run of another configuration gets another folder.
    If `changes` name a table of labels, it is that of the rows which would have one made, and of no other.
    """
    folder, changes = pathlib.Path(folder) / study.name, dict(changes or {})
    given = ""
    if any(row.labelled_by for row in study.rows):
        given = changes.pop("data.aux_labels", "")
    starts: dict[str, Planned] = {}
    for row in study.rows:
        for first in (row.start, None if given else row.labelled_by):
            if first and first.name not in starts:
                starts[first.name] = _planned(first, 0, 0, changes, folder)
    tables: dict[str, Table] = {}
    for row in study.rows:
        if row.labelled_by and not given:
            (dataset,) = row.config.data.aux
            tables[row.name] = Table(starts[row.labelled_by.name], dataset)
    runs = []
    for seed in seeds:
        for row in study.rows:
            own = {"init_from": str(starts[row.start.name].workdir)} if row.start else {}
            if row.labelled_by:
                own["data.aux_labels"] = given or str(tables[row.name].path)
            for fold in row.folds or (0,):
                runs.append(_planned(row, seed, fold, {**changes, **own}, folder))
    return Plan(tuple(starts.values()), tuple(runs), tuple(tables.values()))


def _planned(
    row: Row, seed: int, fold: int, changes: Mapping[str, Any], folder: pathlib.Path
) -> Planned:
    if fold:
        changes = {**changes, "data.fold": fold}
    config = row_config(row, seed, changes)
    digest = hashlib.sha256(json.dumps(_own(config), sort_keys=True).encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.]+", "_", row.name) + f"-seed{seed}" + (f"-fold{fold}" if fold else "")
    made = sorted(folder.glob(f"*-{digest}"))  # by another study, under its own name for the row
    return Planned(row, seed, fold, config, made[0] if made else folder / f"{name}-{digest}")


def _own(config: ConfigDict) -> dict[str, Any]:
    """What differs from the method's defaults, so that a key that is added later changes no name."""
    method, mine = str(config.method), workdir_lib.identity(settings(config))
    default = workdir_lib.identity(settings(config_lib.default(method)))
    own = {key: value for key, value in mine.items() if value != default.get(key)}
    return {"method": method, **own}


def settings(config: ConfigDict) -> dict[str, Any]:
    """A configuration as a workdir keeps it."""
    return json.loads(config.to_json_best_effort())


def row_config(row: Row, seed: int, changes: Mapping[str, Any]) -> ConfigDict:
    """The checked configuration of a row."""
    config = copy.deepcopy(row.config)
    config.seed = seed
    for key, value in {**row.changes, **changes}.items():
        config_lib.set_value(config, key, value)
    config_lib.check(config)
    return config


def with_weights(study: Study, weights: Mapping[str, str]) -> Study:
    """The study with first weights for the rows, or the networks, that are named."""

    def begun(row: Row) -> Row:
        if row.labelled_by:
            row = dataclasses.replace(row, labelled_by=begun(row.labelled_by))
        file = weights.get(row.name) or weights.get(row.config.model.name)
        if not file:
            return row
        return dataclasses.replace(row, changes={**row.changes, "init_from": file}, start=None)

    return dataclasses.replace(study, rows=tuple(map(begun, study.rows)))


def networks_and_rows(studies: Iterable[Study]) -> list[str]:
    """What `with_weights` knows."""
    rows = [row for study in studies for row in study.rows]
    return sorted({name for row in rows for name in (row.name, row.config.model.name)})


def gpu_hours(config: ConfigDict) -> float:
    """How long a run trains on one `GPU` at least: its products at `SHARE` of the peak."""
    run = config_lib.check(config)
    with catalog.assuming("cards"):
        info = catalog.info(run.data.target, run.data.dir or None)
    split = catalog.fold_splits(info, run.data.fold)["train"] if run.data.fold else "train"
    counts = [run.data.sizes.get(part, info.splits.get(part)) for part in split.split("+")]
    rows = run.data.target_rows or sum(count or assumed.RECORDS for count in counts)
    rows *= run.data.batch_size / run.data.target_batch_size
    views = sum(getattr(run.loss, view, False) for view in ("erased_view", "heatmap_view"))
    options = {key: value for key, value in run.model.items() if key != "name"}
    name = run.model["name"]
    model = models.create(name, **options)
    shape = run.data.size, run.data.frames
    if run.optimizer.freeze:
        products = _of_a_step(model, table.example(name, *shape), run.optimizer.freeze)
    else:  # forward, and two back: for what comes before, and for the weights
        products = 3 * table.macs(name, model, *shape)
    seconds = 2 * (1 + views) * products * rows * run.train.epochs
    return seconds / (SHARE * chips.chip(GPU, "bfloat16").peak) / 3600


def _of_a_step(model: nn.Module, x: jax.ShapeDtypeStruct, freeze: Sequence[str]) -> int:
    """Multiply-adds of a row forward, and back where parameters that are not frozen ask for it."""
    keys = jax.eval_shape(lambda: {name: jax.random.key(0) for name in ("params", "dropout")})

    def loss(params: Any, rest: Any, x: jax.Array, keys: Any) -> jax.Array:
        given = {**rest, "params": optimizer.held(params, freeze)}
        outputs, _ = model.apply(given, x, train=True, rngs=keys, mutable=list(rest))
        return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(outputs)), jnp.zeros(()))

    with ops.traced_for("tpu"):
        rest = dict(jax.eval_shape(model.init, keys, x))
        params = rest.pop("params")
        traced = jax.make_jaxpr(jax.grad(loss))(params, rest, x, keys)
    return sum(table.products(traced.jaxpr))


def describe(study: Study, plan: Plan, *, hours: bool = False) -> Iterator[str]:
    """Every run, under its row and what that row's configuration has of its own.

    The first row is compared with the method's defaults, the others with the first; `hours` adds a guess at
    each run's time.
    """
    every = (*plan.starts, *plan.runs)
    each = {row: gpu_hours(config) for row, config in _firsts(every).items()} if hours else {}
    total = sum(each[run.row.name] for run in every) if hours else 0.0
    took = f", at least {total:.1f} {GPU} hours (products at {SHARE:.0%} of the peak)"
    yield f"{study.title}: {len(every)} runs{took if hours else ''}"
    first: dict[str, Any] = {}
    for row in {run.row.name: run.row for run in every}.values():
        runs = [run for run in every if run.row.name == row.name]
        flat = workdir_lib.identity(settings(runs[0].config))
        default = config_lib.default(flat["method"])
        before = first or workdir_lib.identity(settings(default))
        yield f"  {row.name}: differs from {'the first row' if first else 'the defaults'} in"
        for key in sorted(flat.keys() | before.keys()):
            if key not in ("seed", "data.fold") and flat.get(key) != before.get(key):
                yield f"    {key} = {flat.get(key)!r}"
        first = first or flat
        if hours:
            yield f"    at least {each[row.name]:.2f} {GPU} hours a run"
        for run in runs:
            number = settings(run.config)["data"]["fold"]
            fold = f", fold {number}" if number else ""
            state = "finished" if run.finished else "to do"
            yield f"    seed {run.seed}{fold}: {run.workdir} ({state})"


def _firsts(runs: Iterable[Planned]) -> dict[str, ConfigDict]:
    """The configuration of each row's first run."""
    found: dict[str, ConfigDict] = {}
    for run in runs:
        found.setdefault(run.row.name, run.config)
    return found
