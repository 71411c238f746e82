"""AU-DFER's tables: what the AU loss adds to three video models, by positive weights and by lambda."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flax import linen as nn

from aufer_jax import facs
from aufer_jax.datasets import catalog
from aufer_jax.errors import UserError
from aufer_jax.models import table
from aufer_jax.papers.audfer import recipes
from aufer_jax.papers.audfer.positive_weights import MINOR_EXPRESSIONS
from aufer_jax.papers.study import Claim, Row, Study, published
from aufer_jax.train import setup

TARGET = "synth_clips"  # with DFEW's share of each class
# Host -> the strategy of its published "+AU" row.
HOSTS = {"m3dfel": "global", "mae_dfer": "distinct", "former_dfer": "distinct"}
# Of these the tables quote the host alone; with the AU loss nobody has published them.
QUOTED = dict.fromkeys(("svfap", "s2d", "fru_adapter"), "global")
# Likewise, built from what is public of their papers.
PEERS = dict.fromkeys(("ec_stfl", "stt", "dpcnet", "nr_dfernet"), "global")
# Pre-trained encoders, which no table has: frozen in full studies, from scratch in small ones.
BEYOND = dict.fromkeys(("clip", "dinov2", "dinov3", "videomae", "vjepa2"), "global")
# Host -> its name in the published tables.
PUBLISHED = {
    "m3dfel": "M3DFEL", "mae_dfer": "MAE-DFER", "former_dfer": "Former-DFER", "svfap": "SVFAP-B",
    "ec_stfl": "EC-STFL", "dpcnet": "DPCNet", "nr_dfernet": "NR-DFERNet",
}  # fmt: skip
# A MAE-DFER small enough for two cores learns nothing from 800 clips, and hardly more after pre-training on
# them: a 3-D ResNet stands in.
HOSTS_SMALL = {"m3dfel": "global", "former_dfer": "distinct", "r3d18": "global"}
# Of these the first fold, as the published tables have it for two of the hosts; for the third and the quoted
# ones all of DFEW's, pooled. FERV39k has one split.
FOLDED = {"dfew": 5, "mafw": 5, "mafw7": 5, "ravdess": 6}
POOLED = ("former_dfer", *QUOTED, *PEERS)
STRATEGIES = ("global", "distinct", "minor")
LAMBDAS = (0.1, 0.25, 0.5, 0.75)
# Other ways to teach rare classes, to see how much of a gain is due to AUs.
IMBALANCE: Mapping[str, Mapping[str, Any]] = {
    "balanced sampling": {"data.balanced": True},
    "focal loss": {"loss.expression": "focal"},
    "logit adjustment": {"loss.expression": "logit_adjusted"},
}
# What a run of a study on two cores has beside its recipe.
SMALL: Mapping[str, Any] = {
    "data.eval_batch_size": 100,
    "train.log_every": 1000,
    "train.keep": 1,
}
SMALL_SYNTHETIC = {**SMALL, "data.sizes": {"train": 800, "validation": 100, "test": 800}}


def studies(
    target: str = "", full: bool = False, aux: Sequence[str] = (), recipe: str = ""
) -> dict[str, Study]:
    """Every experiment by the name of its table or figure in the paper, and `imbalance`.

    Tables 1 and 2 are of the same runs: two names for one study.
    """
    if aux:
        raise UserError(f"aux: {', '.join(aux)} given, but AU-DFER has no auxiliary datasets")
    make = _Maker(target or TARGET, full, recipe or "paper")
    hosts = make.with_and_without()
    return {
        "table1": hosts,
        "table2": hosts,
        "table3": make.strategies(),
        "fig5": make.lambdas(),
        "imbalance": make.imbalance(),
    }


class _Maker:
    """The studies of one target at one size."""

    def __init__(self, target: str, full: bool, recipe: str):
        self.target, self.recipe = target, recipe if full else "small"
        self.full = full
        self.hosts = HOSTS if full else HOSTS_SMALL
        self.host = "m3dfel" if full else "former_dfer"  # of studies with one; this trains fastest
        self.changes = SMALL_SYNTHETIC if catalog.is_drawn(target) else SMALL
        if full:
            self.changes = {}

    def row(self, host: str, strategy: str, changes: Mapping[str, Any] | None = None) -> Row:
        """A host with a strategy, "none" for the host alone."""
        count = FOLDED.get(self.target, 0)
        config = recipes.create(self.recipe, host, self.target, au=strategy, fold=min(count, 1))
        folds = tuple(range(1, count + 1)) if self.full and host in POOLED else ()
        return Row(_name(host, strategy), config, {**self.changes, **(changes or {})}, folds=folds)

    def study(self, title: str, rows: Sequence[Row], claims: Sequence[Claim], note: str) -> Study:
        metrics = {
            "WAR": "test_last/accuracy",
            "UAR": "test_last/uar",
            "WAR, best epoch": "test_best/accuracy",
            "UAR, best epoch": "test_best/uar",
            **{f"{name} recall": f"test_last/recall/{name}" for name in MINOR_EXPRESSIONS},
            "AU F1": "test_last/au_f1",
            "AU F1 micro": "test_last/au_f1_micro",
            "AU AUC": "test_last/au_auc",
        }
        # One folder for all: what two tables share is run once.
        folder = f"audfer-{self.target}{'-full' if self.full else ''}"
        title = f"AU-DFER, {title}, on {self.target}"
        if self.full:
            note += f" Recipe: {self.recipe}."
            pooled = [host for host in POOLED if any(row.folds for row in rows)]
            if pooled:
                note += f" {', '.join(pooled)}: folds pooled; other hosts: fold 1."
        return Study(folder, title, tuple(rows), metrics, tuple(claims), note)

    def with_and_without(self) -> Study:
        rows, claims = [], []
        for host, strategy in {**self.hosts, **QUOTED, **PEERS, **BEYOND}.items():
            rows += [self.row(host, "none"), self.row(host, strategy)]
            claims += _better("the AU loss helps", _name(host, "none"), _name(host, strategy))
        note = (
            "Each host alone, and with the AU loss in the form of its published row. "
            f"{', '.join((*QUOTED, *PEERS))}: published without the AU loss only. {', '.join(PEERS)}: built "
            f"from what is public of their papers. {', '.join(BEYOND)}: not in the paper."
        )
        found = self.study("tables 1 and 2: hosts", rows, claims, note)
        columns = {"parameters": _parameters, "GMAC": _gmac}
        if self.full:
            columns["GFLOPs, published"] = _published_gflops
        return dataclasses.replace(found, columns=columns)

    def strategies(self) -> Study:
        rows, claims = [], []
        for host in [host for host in self.hosts if host in HOSTS]:
            rows += [self.row(host, strategy) for strategy in ("none", *STRATEGIES)]
            for strategy in STRATEGIES:
                text = f"the AU loss with {strategy} positive weights helps"
                claims += _better(text, _name(host, "none"), _name(host, strategy))
        note = (
            "Positive weights over all samples, within each class, or within the rare classes only."
        )
        return self.study("table 3: positive weights", rows, claims, note)

    def lambdas(self) -> Study:
        alone = self.row(self.host, "none")
        rows = [alone]
        for value in LAMBDAS:
            row = self.row(self.host, "global", {"loss.au_weight": value})
            default = value == 0.25  # the same runs as in the tables
            rows.append(row if default else dataclasses.replace(row, name=f"lambda {value}"))
        claims = []
        for row in rows[1:]:
            claims += _better("the AU loss helps", alone.name, row.name)
        note = (
            f"`{self.host} + global` is lambda 0.25, that of all tables. The paper's figure 5, of "
            "M3DFEL, has no numbers."
        )
        return self.study("figure 5: lambda", rows, claims, note)

    def imbalance(self) -> Study:
        rows = [self.row(self.host, "none")]
        for name, changes in IMBALANCE.items():
            row = self.row(self.host, "none", changes)
            rows.append(dataclasses.replace(row, name=name))
        rows.append(self.row(self.host, "global"))
        best = rows[-1].name
        claims = [
            Claim("the AU loss does more for rare classes", (row.name, best), "test_last/uar")
            for row in rows[:-1]
        ]
        note = "The AU loss beside the usual ways to teach rare classes; not in the paper."
        return self.study("beside other tools for imbalance", rows, claims, note)


def _name(host: str, strategy: str) -> str:
    return host if strategy == "none" else f"{host} + {strategy}"


def _better(text: str, worse: str, better: str) -> list[Claim]:
    return [Claim(text, (worse, better), f"test_last/{metric}") for metric in ("accuracy", "uar")]


def _network(row: Row) -> tuple[str, nn.Module, int, int]:
    """A row's model for seven classes, and the size and number of frames of its clips."""
    config = row.config
    aus = facs.au_order(config.data.aus) if config.loss.au_weight else ()
    model = setup.create_model(config.model.to_dict(), num_classes=7, aus=aus, neutral=0)
    return config.model.name, model, config.data.size, config.data.frames


def _parameters(row: Row) -> str:
    return f"{table.parameters(*_network(row)):,}"


def _gmac(row: Row) -> str:
    return f"{table.macs(*_network(row)) / 1e9:.4g}"


def _published_gflops(row: Row) -> str:
    host = row.name.partition(" ")[0]
    of_host = (n for n in published("audfer") if n.row == PUBLISHED.get(host))
    return next((f"{n.value:g}" for n in of_host if n.column == "GFLOPs"), "-")
