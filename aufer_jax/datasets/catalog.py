"""The datasets by name: what they hold, how to get them, and their records."""

import dataclasses
import functools
import importlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from aufer_jax import synth
from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo
from aufer_jax.datasets import splits
from aufer_jax.errors import UserError, unknown

DATA_VARIABLE = "AUFER_DATA"
SYNTHETIC = "synth_"  # how the names of drawn datasets begin

# Datasets that `aufer prepare` can read -> the class that says how.
FOLDER, CLIPS = "folder", "clips"  # any faces, any clips, under a name of the user's
ANY = (FOLDER, CLIPS)
BUILDERS = {
    FOLDER: "aufer_jax.datasets.folder:Folder",
    CLIPS: "aufer_jax.datasets.own_clips:Clips",
    "rafdb": "aufer_jax.datasets.rafdb:RafDb",
    "ferplus": "aufer_jax.datasets.ferplus:FerPlus",
    "affectnet7": "aufer_jax.datasets.affectnet:AffectNet7",
    "affectnet8": "aufer_jax.datasets.affectnet:AffectNet8",
    "rafau": "aufer_jax.datasets.rafau:RafAu",
    "emotionet": "aufer_jax.datasets.emotionet:EmotioNet",
    "dfew": "aufer_jax.datasets.dfew:Dfew",
    "ferv39k": "aufer_jax.datasets.ferv39k:Ferv39k",
    "mafw": "aufer_jax.datasets.mafw:Mafw",
    "mafw7": "aufer_jax.datasets.mafw:Mafw7",
    "ravdess": "aufer_jax.datasets.ravdess:Ravdess",
    "affwild2": "aufer_jax.datasets.affwild2:AffWild2",
}

_RECORD = "dataset.json"  # in the folder of a prepared dataset; written last


def _synthetic(kind: str, made: synth.Dialect | synth.ClipSet) -> DatasetInfo:
    return DatasetInfo(
        name=made.name,
        kind=kind,
        expressions=made.expressions if getattr(made, "labelled", True) else (),
        aus=made.aus,
        splits=dict(made.sizes),
        licence="Apache-2.0",
        how_to_get="drawn by aufer_jax on first use",
        builder="aufer_jax.datasets.synthetic:Synth",
    )


@functools.cache
def _drawn() -> dict[str, DatasetInfo]:
    rows = [_synthetic(records.IMAGE, dialect) for dialect in synth.DIALECTS.values()]
    rows += [_synthetic(records.CLIP, clips) for clips in synth.CLIP_SETS.values()]
    return {row.name: row for row in rows}


def names(data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The names of all datasets: those that are drawn, and those prepared in `data_dir`."""
    there = sorted(path.parent.name for path in _root(data_dir).glob(f"*/{_RECORD}"))
    return (*_drawn(), *there)


def info(name: str, data_dir: str | os.PathLike | None = None) -> DatasetInfo:
    """What is known of a dataset."""
    if name in _drawn():
        return _drawn()[name]
    there = prepared(name, data_dir)
    if there is not None:
        return _from_json(there["info"])
    if name in BUILDERS and name not in ANY:
        raise UserError(
            f"dataset: {name} is not prepared in {_root(data_dir)}; "
            f"run: aufer prepare {name} --source DIR; {maker(name).how_to_get}"
        )
    raise unknown("dataset", name, [*names(data_dir), *unprepared(data_dir)])


def maker(name: str) -> Any:
    """The class that reads the files of a dataset, one of `BUILDERS`."""
    module, attribute = BUILDERS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def unprepared(data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The datasets that `aufer prepare` knows and that are not prepared in `data_dir`."""
    there = names(data_dir)
    return tuple(name for name in BUILDERS if name not in ANY and name not in there)


def prepared(name: str, data_dir: str | os.PathLike | None = None) -> dict[str, Any] | None:
    """What `register` wrote of a prepared dataset, or None if there is none of that name."""
    try:
        text = (_root(data_dir) / name / _RECORD).read_text(encoding="utf-8")
    except OSError:
        return None
    return json.loads(text)


def register(info: DatasetInfo, folder: pathlib.Path, made: str, **notes: Any) -> None:
    """Makes the records in `folder / made` the dataset of that name, at once and as a whole."""
    text = json.dumps({"records": made, "info": dataclasses.asdict(info), **notes}, indent=1)
    (folder / f"{_RECORD}.new").write_text(text, encoding="utf-8")
    os.replace(folder / f"{_RECORD}.new", folder / _RECORD)


def _from_json(values: dict[str, Any]) -> DatasetInfo:
    lists: dict[str, Any] = {name: tuple(values[name]) for name in ("expressions", "aus")}
    return DatasetInfo(**(values | lists))


def _root(data_dir: str | os.PathLike | None) -> pathlib.Path:
    return pathlib.Path(data_dir).expanduser() if data_dir else default_data_dir()


def default_data_dir() -> pathlib.Path:
    """Where prepared datasets are kept: $AUFER_DATA, or a folder in the user's cache."""
    return pathlib.Path(os.environ.get(DATA_VARIABLE, "~/.cache/aufer_jax")).expanduser()


def fold_splits(info: DatasetInfo, fold: int) -> dict[str, str]:
    """What trains, validates and tests where `fold` of a cross-validation is the test set.

    The others train, but for what was taken from each of them to validate; there is no "validation"
    where nothing was. The values are splits for `source`.
    """
    folds = [name for name in info.splits if splits.is_fold(name)]
    if not folds:
        raise UserError(f"fold: {info.name} has no folds; its splits are {', '.join(info.splits)}")
    if splits.fold(fold) not in folds:
        raise UserError(f"fold: {fold} is none of the {len(folds)} folds of {info.name}, 1 on")
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
      prepare: prepares the dataset if it is not there; without it that is an error.
      sizes: other sizes for splits of a synthetic dataset, for example {"train": 64}.
      **options: of the dataset's builder.

    Returns:
      A sequence of records with an `info`; see `records`.
    """
    from aufer_jax.datasets import store

    dataset, root = info(name, data_dir), _root(data_dir)
    pieces = [piece.split("[")[0].strip() for piece in split.split("+")]
    for wanted in (*pieces, *(sizes or ())):
        if wanted not in dataset.splits:
            raise unknown(f"split of {name}", wanted, dataset.splits)
    there = prepared(name, data_dir) if name not in _drawn() else None
    if there is not None:
        if sizes or options:
            raise UserError(f"sizes, options: {name} is prepared, only drawn datasets take them")
        root, prepare = root / name / there["records"], False
    dataset = dataclasses.replace(dataset, splits={**dataset.splits, **(sizes or {})})
    module, attribute = dataset.builder.split(":")
    make = functools.partial(
        getattr(importlib.import_module(module), attribute), dataset, root, **options
    )
    builder = store.prepare(make) if prepare else make()
    if not builder.data_path.exists():
        raise UserError(f"dataset: {name} is not prepared in {root}; {dataset.how_to_get}")
    return store.ArrayRecordSource(dataset, builder, split)
