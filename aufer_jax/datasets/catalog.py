"""The datasets by name: what they hold, how to get them, and their records.

>>> info("synth_a").expressions[:2], info("synth_a").splits["test"]
(('surprise', 'fear'), 1400)
>>> is_drawn("synth_a"), is_drawn("rafdb")
(True, False)
>>> card("dfew").expressions[0], "rafdb" in cards()
('happiness', True)
>>> three = dataclasses.replace(info("synth_a"), splits={"fold1": 9, "fold2": 9, "fold3": 9})
>>> fold_splits(three, 2)
{'train': 'fold1+fold3', 'test': 'fold2'}
"""

import contextlib
import contextvars
import dataclasses
import difflib
import functools
import importlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any, Literal

from aufer_jax import remote, synth
from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo
from aufer_jax.datasets import assumed, splits
from aufer_jax.datasets.card import Card
from aufer_jax.errors import UserError, unknown

DATA_VARIABLE = "AUFER_DATA"
GROUP = "aufer_jax.datasets"  # entry points of other packages: a dataset's name = "module:CARD"

# Where the cards of our datasets are; a module is imported when its card is asked for.
_OURS = {
    "folder": "aufer_jax.datasets.folder:CARD",  # any faces
    "clips": "aufer_jax.datasets.clips:CARD",  # any clips
    "rafdb": "aufer_jax.datasets.rafdb:CARD",
    "ferplus": "aufer_jax.datasets.ferplus:CARD",
    "affectnet7": "aufer_jax.datasets.affectnet:SEVEN",
    "affectnet8": "aufer_jax.datasets.affectnet:EIGHT",
    "affectnetplus": "aufer_jax.datasets.affectnet_plus:CARD",
    "rafau": "aufer_jax.datasets.rafau:CARD",
    "emotionet": "aufer_jax.datasets.emotionet:CARD",
    "dfew": "aufer_jax.datasets.dfew:CARD",
    "ferv39k": "aufer_jax.datasets.ferv39k:CARD",
    "mafw": "aufer_jax.datasets.mafw:CARD",
    "mafw7": "aufer_jax.datasets.mafw:SEVEN",
    "ravdess": "aufer_jax.datasets.ravdess:CARD",
    "affwild2": "aufer_jax.datasets.affwild2:CARD",
}
RECORD = "dataset.json"  # in the folder of a prepared dataset; written last
_TYPO = 0.7  # how alike a name and the one that is meant are at least
_SHOWN = 10  # names in a message

_registered: dict[str, Card] = {}
_kept_in: contextvars.ContextVar[str] = contextvars.ContextVar("kept_in", default="")
_assumed: contextvars.ContextVar[str] = contextvars.ContextVar("assumed", default="")


# --- Cards: datasets as their authors ship them -------------------------------------------------


def register(card: Card) -> None:
    """Makes known a dataset that is not part of this package."""
    if card.name in _OURS or is_drawn(card.name):
        raise UserError(f"card: {card.name!r} is the name of another dataset")
    _registered[card.name] = card


def card(name: str) -> Card:
    """The card of a dataset, one of `cards()`."""
    if name in _registered:
        return _registered[name]
    places = _places()
    if name not in places:
        raise unknown("dataset to prepare", name, cards())
    module, attribute = places[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def cards() -> tuple[str, ...]:
    """The names of all datasets that `prepare` can read."""
    return tuple(dict.fromkeys((*_places(), *_registered)))


@functools.cache
def _places() -> dict[str, str]:
    others = metadata.entry_points(group=GROUP)
    return _OURS | {entry.name: entry.value for entry in others if entry.name not in _OURS}


# --- Drawn and prepared datasets ----------------------------------------------------------------


def is_drawn(name: str) -> bool:
    """Whether a name is that of a synthetic dataset."""
    return name.startswith("synth_")


@functools.cache
def _drawn() -> dict[str, DatasetInfo]:
    kinds = {records.IMAGE: synth.DIALECTS, records.CLIP: synth.CLIP_SETS}
    return {
        name: DatasetInfo(
            name=name,
            kind=kind,
            expressions=made.expressions if getattr(made, "labelled", True) else (),
            aus=made.aus,
            splits=dict(made.sizes),
            licence="Apache-2.0",
            how_to_get="drawn by aufer_jax on first use",
        )
        for kind, sets in kinds.items()
        for name, made in sets.items()
    }


def names(data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The names of all datasets: those that are drawn, and those prepared in `data_dir`."""
    there = sorted(path.parent.name for path in root(data_dir).glob(f"*/{RECORD}"))
    return (*_drawn(), *there)


def info(name: str, data_dir: str | os.PathLike | None = None) -> DatasetInfo:
    """What is known of a dataset."""
    if name in _drawn():
        return _drawn()[name]
    there = prepared(name, data_dir)
    if there is not None:
        return _from_json(there["info"])
    if _assumed.get() and name in cards() and not card(name).own:
        return assumed.info(card(name))
    if name in cards() and not card(name).own:
        raise _to_prepare(name, data_dir)
    others = [*names(data_dir), *unprepared(data_dir)]
    if difflib.get_close_matches(name, others, n=1, cutoff=_TYPO):
        raise unknown("dataset", name, others)
    raise UserError(_not_there(name, root(data_dir)))


def _to_prepare(name: str, data_dir: str | os.PathLike | None) -> UserError:
    return UserError(
        f"dataset: {name} is not prepared in {remote.name(root(data_dir))}; "
        f"run: aufer data prepare {name} --source DIR; {card(name).how_to_get}"
    )


def _not_there(name: str, folder: pathlib.Path) -> str:
    """Where was looked for a dataset of the user's own, and what is there instead."""
    there = sorted(path.parent.name for path in folder.glob(f"*/{RECORD}"))
    holds = f"holds {', '.join(there[:_SHOWN])}" if there else "holds no prepared dataset"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    elsewhere = default_data_dir()
    hint = f"prepare your own faces: aufer data prepare folder --name {name} --source DIR"
    if (elsewhere / name / RECORD).exists():
        hint = f"it is in {remote.name(elsewhere)}"
    return (
        f"dataset: {name!r} is not in {remote.name(folder)}, which "
        f"{holds + more if folder.exists() else 'does not exist'} (data.dir, --data-dir or "
        f"${DATA_VARIABLE} say where to look); {hint}"
    )


def unprepared(data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The datasets that could be prepared and are not in `data_dir`."""
    there = names(data_dir)
    return tuple(name for name in cards() if name not in there and not card(name).own)


def prepared(name: str, data_dir: str | os.PathLike | None = None) -> dict[str, Any] | None:
    """What `publish` wrote of a prepared dataset, or None if there is none of that name."""
    if "\0" in name:  # which no file can have in its name
        return None
    try:
        text = (root(data_dir) / name / RECORD).read_text(encoding="utf-8")
    except (OSError, UnicodeEncodeError):
        return None
    return json.loads(text)


def publish(info: DatasetInfo, folder: pathlib.Path, made: str, **notes: Any) -> None:
    """Makes the records in `folder / made` the dataset of that name, at once and as a whole."""
    text = json.dumps({"records": made, "info": dataclasses.asdict(info), **notes}, indent=1)
    (folder / f"{RECORD}.new").write_text(text, encoding="utf-8")
    os.replace(folder / f"{RECORD}.new", folder / RECORD)


def _from_json(values: dict[str, Any]) -> DatasetInfo:
    known = {field.name for field in dataclasses.fields(DatasetInfo)}
    lists: dict[str, Any] = {name: tuple(values[name]) for name in ("expressions", "aus")}
    return DatasetInfo(**({k: v for k, v in values.items() if k in known} | lists))


def root(data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Where datasets are kept: in `data_dir`, or else in `default_data_dir()`."""
    data_dir = data_dir or _kept_in.get()
    return _place(data_dir) if data_dir else default_data_dir()


def _place(data_dir: str | os.PathLike) -> pathlib.Path:
    """The folder; of one in a store the one that stands for it, with what is told of its datasets."""
    if remote.is_remote(data_dir):
        return remote.catalogue(str(data_dir), "*/*.json")
    return pathlib.Path(data_dir).expanduser()


@contextlib.contextmanager
def kept_in(data_dir: str) -> Iterator[None]:
    """Prepared datasets are looked for there, where no other folder is named; empty: as usual."""
    before = _kept_in.set(data_dir)
    try:
        yield
    finally:
        _kept_in.reset(before)


@contextlib.contextmanager
def assuming(what: Literal["cards", "records"] = "records") -> Iterator[None]:
    """Within, a dataset that is not prepared is as its card says; and all records are blank.

    Nothing is drawn, prepared or opened then. With "cards" records are what they are.

    >>> with assuming():
    ...     len(source("rafdb", "train"))
    12271
    """
    before = _assumed.set(what)
    try:
        yield
    finally:
        _assumed.reset(before)


def default_data_dir() -> pathlib.Path:
    """Where prepared datasets are kept: $AUFER_DATA, or a folder in the user's cache."""
    return _place(os.environ.get(DATA_VARIABLE, "~/.cache/aufer_jax"))


def fold_splits(info: DatasetInfo, fold: int) -> dict[str, str]:
    """What trains, validates and tests where `fold` of a cross-validation is the test set.

    The others train, except for what was held out of each for validation; there is no "validation"
    where nothing was. The values are splits for `source`.
    """
    folds = [name for name in info.splits if splits.is_fold(name)]
    if not folds:
        raise UserError(f"fold: {info.name} has no folds; its splits are {', '.join(info.splits)}")
    if splits.fold(fold) not in folds:
        raise UserError(f"fold: {fold} is not a fold of {info.name}, which has 1 to {len(folds)}")
    held = [splits.validation_of(name) for name in folds]
    validation = {a: b for a, b in zip(folds, held, strict=True) if b in info.splits}
    test = splits.fold(fold)
    others = [name for name in folds if name != test]
    found = {splits.TRAIN: "+".join(others)}
    if any(name in validation for name in others):
        found[splits.VALIDATION] = "+".join(validation[n] for n in others if n in validation)
    found[splits.TEST] = "+".join([test, *([validation[test]] if test in validation else [])])
    return found


def source(
    name: str,
    split: str,
    data_dir: str | os.PathLike | None = None,
    prepare: bool = True,
    sizes: Mapping[str, int] | None = None,
    **options: Any,
) -> records.Source:
    """Random access to the records of a split.

    Args:
      name: one of `names(data_dir)`.
      split: one of the dataset's splits, a piece of one such as "train[:100]", or several of
        these, "fold1+fold2"; see `fold_splits`.
      data_dir: where prepared datasets are kept; default `default_data_dir()`.
      prepare: prepares the dataset if it is missing; otherwise that is an error.
      sizes: other sizes for splits of a synthetic dataset, for example {"train": 64}.
      **options: of a synthetic dataset: `size` in pixels, `seed`.

    Returns:
      A sequence of records with an `info`; see `records`.
    """
    from aufer_jax.datasets import store, synthetic

    dataset, place = info(name, data_dir), root(data_dir)
    pieces = [piece.split("[")[0].strip() for piece in split.split("+")]
    for wanted in (*pieces, *(sizes or ())):
        if wanted not in dataset.splits:
            raise unknown(f"split of {name}", wanted, dataset.splits)
    if _assumed.get() == "records":
        counts = {**dataset.splits, **(sizes or {})}
        return assumed.Blank(dataclasses.replace(dataset, splits=counts), split)
    if name in _drawn():
        dataset = dataclasses.replace(dataset, splits={**dataset.splits, **(sizes or {})})
        # A folder of its own for what is read: splits that nobody reads are never drawn.
        splits = {part: n for part, n in dataset.splits.items() if part in pieces}
        drawn = dataclasses.replace(dataset, splits=splits)
        folder = synthetic.folder(drawn, place, **options)
        if prepare:
            synthetic.draw_once(drawn, folder, **options)
    else:
        if sizes or options:
            raise UserError(
                f"sizes, options: {name} is prepared; only synthetic datasets have them"
            )
        there = prepared(name, data_dir)
        if there is None:  # its card is known, its records are not
            raise _to_prepare(name, data_dir)
        folder = remote.fetch(store.folder(place / name / there["records"]))
    if not folder.exists():
        raise UserError(f"dataset: {name} is not prepared in {place}; {dataset.how_to_get}")
    return store.ArrayRecordSource(dataset, folder, split)
