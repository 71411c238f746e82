"""What a dataset's counts say before any training: what will go wrong, and what guessing reaches."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aufer_jax.datasets import catalog, splits
from aufer_jax.datasets.prepare_report import UNKNOWN

FEW = 20  # training records of a class below which it is hardly learnt
SKEWED = 10  # times as many records of one class as of another

_LINES = 5  # that a run says


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is counted of a dataset.

    Attributes:
      unit: what is counted: images, or clips.
      counts: split -> class -> records; those without an expression are "unknown".
      without_landmarks, without_aus: records that have none.
      subjects: people named; shared_subjects: those who are in more than one split.
      duplicates: pairs of records of different splits that look the same.
      conflicts: files that occur with different labels.
    """

    unit: str
    counts: Mapping[str, Mapping[str, int]]
    without_landmarks: int
    without_aus: int
    subjects: int
    shared_subjects: int
    duplicates: int = 0
    conflicts: int = 0

    @property
    def records(self) -> int:
        """How many there are, in all splits."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that occur in any split, in order."""
        names = dict.fromkeys(name for classes in self.counts.values() for name in classes)
        return tuple(name for name in names if name != UNKNOWN)

    @property
    def training(self) -> dict[str, int]:
        """Class -> records to train with; each fold of a cross-validation trains, too."""
        total = Counter()
        for split, classes in self.counts.items():
            if splits.trains(split):
                total.update(classes)
        return {name: total[name] for name in self.classes}


class Chance(NamedTuple):
    """What a guess reaches in a split that always names the most frequent class in training."""

    always: str
    accuracy: float
    uar: float


def judge(facts: Facts) -> list[str]:
    """What is wrong with a dataset, what it costs and what can be done; one line each, worst first."""
    return [
        *_classes(facts),
        *_copies(facts),
        *_skew(facts),
        *_missing(facts),
    ]


def chance(facts: Facts) -> dict[str, Chance]:
    """What always naming the most frequent class reaches in each split that has labels."""
    training = facts.training
    if not any(training.values()):
        return {}
    always = max(training, key=training.__getitem__)
    found = {}
    for split, classes in facts.counts.items():
        labelled = {name: classes.get(name, 0) for name in facts.classes}
        total, occur = sum(labelled.values()), sum(map(bool, labelled.values()))
        if total:
            right = labelled[always]
            found[split] = Chance(always, right / total, bool(right) / occur)
    return found


def chance_line(found: Mapping[str, Chance]) -> str:
    """One line on what always naming the most frequent class reaches.

    >>> chance_line({"test": Chance("happiness", 0.4, 1 / 7)})
    'always happiness: test accuracy 0.40, UAR 0.14'
    """
    parts = [f"{split} accuracy {c.accuracy:.2f}, UAR {c.uar:.2f}" for split, c in found.items()]
    return f"always {next(iter(found.values())).always}: {'; '.join(parts)}"


def of_run(name: str, data_dir: str | os.PathLike | None, made_of: Mapping[str, str]) -> list[str]:
    """What a run says of its dataset in the beginning, in five lines at most.

    Args:
      name: the dataset; of drawn ones, and those prepared by older versions, there is nothing to say.
      data_dir: where prepared datasets are kept.
      made_of: the run's splits, and which of the dataset's they consist of: "fold1+fold2".
    """
    facts = of_prepared(name, data_dir)
    if facts is None:
        return []
    counts = {split: _sum(facts.counts, parts.split("+")) for split, parts in made_of.items()}
    facts = dataclasses.replace(facts, counts=counts)
    found, guess = judge(facts), chance(facts)
    guess.pop(splits.TRAIN, None)
    last = [chance_line(guess)] if guess else []
    most = _LINES - len(last)
    if len(found) > most:
        rest = len(found) - most + 1
        found = [*found[: most - 1], f"and {rest} more: aufer data inspect {name}"]
    return [*found, *last]


def of_prepared(name: str, data_dir: str | os.PathLike | None = None) -> Facts | None:
    """What was counted when a dataset was prepared."""
    written = (catalog.prepared(name, data_dir) or {}).get("facts")
    return Facts(**written) if written else None


def _sum(counts: Mapping[str, Mapping[str, int]], parts: Iterable[str]) -> dict[str, int]:
    total = Counter({name: 0 for classes in counts.values() for name in classes})
    for part in parts:
        total.update(counts.get(part, {}))
    return dict(total)


# --- What is looked for -------------------------------------------------------------------------


def _classes(facts: Facts) -> Iterable[str]:
    """Classes that are alone, too few, or missing where they should be measured."""
    training, unit = facts.training, facts.unit
    occur = [name for name, count in training.items() if count]
    if len(occur) == 1:
        yield f"only {occur[0]} occurs in training: there is nothing to tell apart"
    held = {
        split: c for split, c in facts.counts.items() if split != splits.TRAIN and any(c.values())
    }
    empty = {
        name: [split for split, classes in held.items() if not classes.get(name)]
        for name in training
    }
    few = [name for name, count in training.items() if count < FEW]
    if few:
        absent = {name: f" (0 in {', '.join(empty[name])})" for name in few if empty[name]}
        told = [f"{name} {training[name]}{absent.get(name, '')}" for name in few]
        yield (
            f"fewer than {FEW} training {unit}s: {', '.join(told)}; hardly to be learnt: collect more, "
            "join classes (--map), or leave them out (--expressions, --classes)"
        )
    for split in held:
        missing = [name for name in training if name not in few and split in empty[name]]
        if missing:
            yield f"{split} has no {unit}s of {', '.join(missing)}: their recall is not measured there"
    if facts.classes and not any(map(splits.is_fold, facts.counts)):
        if not held.get(splits.VALIDATION):
            yield "there is no validation split: no run can choose its best epoch (--validation 0.1)"
        if not held.get(splits.TEST):
            yield "there is no test split: how good a run is on new faces stays unknown"


def _copies(facts: Facts) -> Iterable[str]:
    """What makes results too good, or contradicts itself."""
    if facts.duplicates:
        yield (
            f"{facts.duplicates} pairs of {facts.unit}s look the same and are in different splits: "
            "results on them are too good; report.md names them"
        )
    if facts.shared_subjects:
        yield (
            f"{facts.shared_subjects} of {facts.subjects} people are in more than one split: results "
            "are too good for new people"
        )
    if facts.conflicts:
        yield f"{facts.conflicts} files occur with different labels; report.md names them"


def _skew(facts: Facts) -> Iterable[str]:
    counts = {name: count for name, count in facts.training.items() if count}
    if not counts:
        return
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= SKEWED * counts[least]:
        yield (
            f"{most} is {counts[most] / counts[least]:.0f} times as frequent in training as {least}: "
            "data.balanced=true draws all classes alike, train.best_metric=uar judges them alike"
        )


def _missing(facts: Facts) -> Iterable[str]:
    """What is unknown of records, and which part of the methods goes without."""
    unit, total = facts.unit, facts.records

    def lack(count: int) -> str:
        return f"no {unit} has" if count == total else f"{count} of {total} {unit}s lack"

    if facts.without_landmarks:
        yield (
            f"{lack(facts.without_landmarks)} landmarks: they are neither aligned nor seen as heatmaps "
            "(a view of MV-FER); aufer faces landmarks finds them"
        )
    if facts.without_aus:
        yield (
            f"{lack(facts.without_aus)} AUs: they teach none (AU-ViT takes AUs from data.aux, AU-DFER "
            "goes without by au=none); aufer faces aus estimates them"
        )
    if not facts.subjects:
        yield (
            "nobody is named: a person may be in more than one split, and results too good; a column "
            "`subject` keeps people together"
        )
