"""AU-DFER's tables: what the AU loss adds to video models; by positive weights, lambda and knowledge."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flax import linen as nn

from aufer_jax import facs
from aufer_jax.datasets import catalog
from aufer_jax.errors import UserError
from aufer_jax.models import table
from aufer_jax.papers.audfer import knowledge, recipes
from aufer_jax.papers.study import Claim, Published, Row, Study, beside, published
from aufer_jax.train import setup

TARGET = "synth_clips"  # with DFEW's share of each class
FIRST = (
    "synth_clips_b"  # where small hosts begin, as the papers' begin with weights from other videos
)
# Host -> the strategy of its published "+AU" row.
HOSTS = {"m3dfel": "global", "mae_dfer": "distinct", "former_dfer": "distinct"}
# Of these the tables quote the host alone; with the AU loss nobody has published them. Of the CNNs small
# studies have R3D-18 only, see below.
CNNS = dict.fromkeys(("c3d", "p3d", "i3d", "r2plus1d18", "r3d18", "resnet18_lstm"), "global")
QUOTED = dict.fromkeys(("svfap", "s2d", "fru_adapter"), "global")
# Likewise, built from what is public of their papers.
PEERS = dict.fromkeys(("ec_stfl", "stt", "dpcnet", "nr_dfernet"), "global")
# Pre-trained encoders, which no table has: frozen in full studies, from scratch in small ones.
BEYOND = dict.fromkeys(("clip", "dinov2", "dinov3", "videomae", "vjepa2"), "global")
MAIN = "dfew"  # of the published tables
# Host -> its name there.
PUBLISHED = {
    "m3dfel": "M3DFEL", "mae_dfer": "MAE-DFER", "former_dfer": "Former-DFER",
    "c3d": "C3D", "p3d": "P3D", "i3d": "I3D", "r2plus1d18": "R(2+1)D-18", "r3d18": "3D ResNet18",
    "resnet18_lstm": "ResNet18+LSTM", "svfap": "SVFAP-B", "s2d": "S2D", "fru_adapter": "FRU-Adapter",
    "ec_stfl": "EC-STFL", "stt": "STT", "dpcnet": "DPCNet", "nr_dfernet": "NR-DFERNet",
}  # fmt: skip
# A MAE-DFER small enough for two cores learns nothing from 800 clips, and hardly more after pre-training on
# them: a 3-D ResNet stands in.
HOSTS_SMALL = {"m3dfel": "global", "former_dfer": "distinct", "r3d18": "global"}
# Of these the first fold, as the published tables have it for two of the hosts; for the third and the quoted
# ones all of DFEW's, pooled. FERV39k has one split.
FOLDED = {"dfew": 5, "mafw": 5, "mafw7": 5, "ravdess": 6}
POOLED = ("former_dfer", *CNNS, *QUOTED, *PEERS)
STRATEGIES = ("global", "distinct", "minor")
RECALLS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
MINOR = RECALLS[4:]
LAMBDAS = (0.1, 0.25, 0.5, 0.75)
# Other ways to teach rare classes, to see how much of a gain is due to AUs.
IMBALANCE: Mapping[str, Mapping[str, Any]] = {
    "balanced sampling": {"data.balanced": True},
    "focal loss": {"loss.expression": "focal"},
    "logit adjustment": {"loss.expression": "logit_adjusted"},
}
# The knowledge of the AU loss, and what else its weights could be; "weights" are the positive ones.
KNOWLEDGE: Mapping[str, Mapping[str, Any]] = {
    "uniform K": {"loss.knowledge": "uniform"},
    "own K": {"loss.knowledge": "own"},
    "own K, weights up to 10": {"loss.knowledge": "own", "loss.positive_cap": 10.0},
    "own K, no weights": {"loss.knowledge": "own", "loss.au": "none"},
    "no weights": {"loss.au": "none"},
}
KNOWLEDGE_FULL = {**KNOWLEDGE, "weights up to 10": {"loss.positive_cap": 10.0}}
EPOCHS = 4  # of a small host that has first weights
# What a run of a study on two cores has beside its recipe.
SMALL: Mapping[str, Any] = {
    "data.eval_batch_size": 100,
    "train.log_every": 1000,
    "train.keep": 1,
}
SIZES = {"train": 800, "validation": 100, "test": 800}


def studies(
    target: str = "", full: bool = False, aux: Sequence[str] = (), recipe: str = ""
) -> dict[str, Study]:
    """Every experiment by the name of its table or figure in the paper, `knowledge` and `imbalance`.

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
        "knowledge": make.by_knowledge(),
        "imbalance": make.imbalance(),
    }


class _Maker:
    """The studies of one target at one size."""

    def __init__(self, target: str, full: bool, recipe: str):
        self.target, self.recipe = target, recipe if full else "small"
        self.full = full
        self.hosts = HOSTS if full else HOSTS_SMALL
        self.host = "m3dfel" if full else "former_dfer"  # of studies with one; this trains fastest
        self.begun = catalog.is_drawn(target) and not full  # with first weights
        self.changes = {} if full else SMALL
        if self.begun:
            self.changes = {**SMALL, "data.sizes": SIZES, "train.epochs": EPOCHS}

    def row(self, host: str, strategy: str, changes: Mapping[str, Any] | None = None) -> Row:
        """A host with a strategy, "none" for the host alone."""
        count = FOLDED.get(self.target, 0)
        config = recipes.create(self.recipe, host, self.target, au=strategy, fold=min(count, 1))
        folds = tuple(range(1, count + 1)) if self.full and host in POOLED else ()
        start = self.first_weights(host) if self.begun else None
        changes = {**self.changes, **(changes or {})}
        return Row(_name(host, strategy), config, changes, start=start, folds=folds)

    def first_weights(self, host: str) -> Row:
        """The host alone on other clips, once for all of its rows."""
        config = recipes.create(self.recipe, host, FIRST, au="none")
        sizes = {"train": 1200, "validation": 100, "test": 100}
        return Row(f"{host}, first weights", config, {**SMALL, "data.sizes": sizes})

    def study(self, title: str, rows: Sequence[Row], claims: Sequence[Claim], note: str) -> Study:
        metrics = {
            "WAR": "test_last/accuracy",
            "UAR": "test_last/uar",
            "WAR, best epoch": "test_best/accuracy",
            "UAR, best epoch": "test_best/uar",
            **{f"{name} recall": f"test_last/recall/{name}" for name in RECALLS},
            "AU F1": "test_last/au_f1",
            "AU F1 micro": "test_last/au_f1_micro",
            "AU AUC": "test_last/au_auc",
        }
        # One folder for all: what two tables share is run once.
        folder = f"audfer-{self.target}{'-full' if self.full else ''}"
        title = f"AU-DFER, {title}, on {self.target}"
        if self.begun:
            note += f" First weights from {FIRST}, without AUs, then {EPOCHS} epochs."
        if self.full:
            note += f" Recipe: {self.recipe}."
            pooled = dict.fromkeys(row.name.partition(" ")[0] for row in rows if row.folds)
            if pooled:
                note += f" {', '.join(pooled)}: folds pooled; other hosts: fold 1."
        return Study(folder, title, tuple(rows), metrics, tuple(claims), note)

    def beside(self, found: Study, *tables: str) -> Study:
        """With the numbers of these tables, which call what they measure as we do."""
        numbers = [number for number in _numbers(self.target) if number.table in tables]
        return beside(found, numbers, {head: head for head in found.metrics}, _published_row)

    def with_and_without(self) -> Study:
        rows, claims = [], []
        cnns = CNNS if self.full else {}
        hosts = {**self.hosts, **cnns, **QUOTED, **PEERS, **BEYOND}
        for host, strategy in hosts.items():
            rows += [self.row(host, "none"), self.row(host, strategy)]
            claims += _better("the AU loss helps", _name(host, "none"), _name(host, strategy))
        alone = [host for host in hosts if host not in {*HOSTS, *BEYOND}]
        note = (
            "Each host alone, and with the AU loss in the form of its published row. "
            f"{', '.join(alone)}: published without the AU loss only. {', '.join(PEERS)}: built "
            f"from what is public of their papers. {', '.join(BEYOND)}: not in the paper."
        )
        found = self.study("tables 1 and 2: hosts", rows, claims, note)
        columns = {"parameters": _parameters, "GMAC": _gmac}
        if self.full:
            columns["GFLOPs, published"] = _published_gflops
        return self.beside(dataclasses.replace(found, columns=columns), "table1", "table2")

    def strategies(self) -> Study:
        rows, claims = [], []
        for host in [host for host in self.hosts if host in HOSTS]:
            rows += [self.row(host, strategy) for strategy in ("none", *STRATEGIES)]
            for strategy in STRATEGIES:
                text = f"the AU loss with {strategy} positive weights helps"
                claims += _better(text, _name(host, "none"), _name(host, strategy))
            claims += _best(host) + _for_minor_classes(host)
        note = (
            "Positive weights over all samples, within each class, or within the rare classes only."
        )
        found = self.study("table 3: positive weights", rows, claims, note)
        return self.beside(found, "table3")

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

    def by_knowledge(self) -> Study:
        """What the AU loss owes to K, to positive weights, and to being of the same data."""
        own = self.target if self.target in knowledge.OWN else ""
        rows = [self.row(self.host, "none"), self.row(self.host, "global")]
        alone, published = (row.name for row in rows)
        for name, changes in (KNOWLEDGE_FULL if self.full else KNOWLEDGE).items():
            mine = changes.get("loss.knowledge") == "own"
            if mine and not own:
                continue
            values = {**changes, "loss.knowledge": own} if mine else changes
            rows.append(dataclasses.replace(self.row(self.host, "global", values), name=name))
        claims = []
        for row in rows[1:]:
            claims += _better("the AU loss helps", alone, row.name)
        claims += _better("knowledge does more than equal weights", "uniform K", published)
        if own:
            text = "knowledge of the same data does more than published knowledge"
            claims += _better(text, published, "own K")
        note = (
            f"`{published}` has the published K, and positive weights without a limit; `uniform K` gives "
            "each AU the mean of it, the run of the paper's figure 8 (b); `no weights`: the positives of "
            "every AU count once. Not in the paper, but for the first two."
        )
        if own or self.full:
            note += " `weights up to 10`: no positive counts more than ten times."
        if own:
            note += f" `own K`: made of the training clips by `aufer paper knowledge {own}`."
        return self.study("knowledge and positive weights", rows, claims, note)

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


def _numbers(target: str) -> list[Published]:
    """The paper's on the target, on DFEW if it has none there; a "+ AU" row is named by its strategy."""
    seven = target == "mafw7"  # the hosts' own; the quoted numbers are of all classes
    every, dataset = published("audfer"), "mafw" if seven else target
    if dataset not in {number.dataset for number in every}:
        dataset = MAIN
    named = {f"{PUBLISHED[host]} + AU": f"{PUBLISHED[host]} + {s}" for host, s in HOSTS.items()}
    return [
        dataclasses.replace(number, row=named.get(number.row, number.row))
        for number in every
        if number.dataset == dataset and ("7-class" in number.note) == seven
    ]


def _published_row(name: str) -> str:
    host, *strategy = name.split(" + ")
    return " + ".join([PUBLISHED.get(host, host), *strategy])


def _name(host: str, strategy: str) -> str:
    return host if strategy == "none" else f"{host} + {strategy}"


def _better(text: str, worse: str, better: str) -> list[Claim]:
    return [Claim(text, (worse, better), f"test_last/{metric}") for metric in ("accuracy", "uar")]


def _best(host: str) -> list[Claim]:
    """Of the strategies, the one of the host's published "+AU" row."""
    best = HOSTS[host]
    text = f"{best} positive weights are the best for {host}"
    others = [strategy for strategy in STRATEGIES if strategy != best]
    return [
        claim
        for strategy in others
        for claim in _better(text, _name(host, strategy), _name(host, best))
    ]


def _for_minor_classes(host: str) -> list[Claim]:
    text = "distinct and minor positive weights do more for the minor classes than global ones"
    return [
        Claim(text, (_name(host, "global"), _name(host, strategy)), f"test_last/recall/{name}")
        for strategy in ("distinct", "minor")
        for name in MINOR
    ]


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
