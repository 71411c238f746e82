"""Which records train, validate and test: whole subjects, every class in proportion, by seed."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from aufer_jax.errors import UserError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

_SPELLINGS = {
    **{name: TRAIN for name in ("train", "training")},
    **{name: VALIDATION for name in ("validation", "val", "valid", "dev", "publictest")},
    **{name: TEST for name in ("test", "testing", "privatetest")},
}


_FOLD = re.compile(r"fold[ _]?0*([1-9]\d*)")


def named(text: str) -> str | None:
    """The split meant by a folder or a cell, or None: "val" and "Valid" are "validation".

    >>> named("Training"), named("photographs")
    ('train', None)
    """
    text = text.strip().lower()
    written = _FOLD.fullmatch(text)
    return fold(int(written[1])) if written else _SPELLINGS.get(text)


def fold(number: int) -> str:
    """The split that is one fold of a cross-validation, counted from 1.

    >>> fold(2)
    'fold2'
    """
    return f"fold{number}"


def trains(split: str) -> bool:
    """Whether a part of a split may become a validation split: train, folds, undecided ones."""
    return split in ("", TRAIN) or is_fold(split)


def is_fold(split: str) -> bool:
    """Whether a split is one of the folds of a cross-validation.

    >>> is_fold("fold2"), is_fold("fold2_validation")
    (True, False)
    """
    return _FOLD.fullmatch(split) is not None


def validation_of(split: str) -> str:
    """What is taken from a split that trains to validate: "validation", "fold2_validation".

    >>> validation_of("fold2")
    'fold2_validation'
    """
    return VALIDATION if split in ("", TRAIN) else f"{split}_{VALIDATION}"


def check_shares(validation: float, test: float) -> None:
    """Raises where the shares of validation and test leave nothing to train on."""
    for name, share in ((VALIDATION, validation), (TEST, test)):
        if not 0 <= share < 1:
            raise UserError(f"{name}: {share} must be from 0 up to 1")
    if validation + test >= 1:
        raise UserError(f"validation, test: {validation} and {test} leave nothing to train on")


def assign(
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
) -> list[str]:
    """A split for each record; records of a group stay together.

    Groups are dealt out one by one, those first that hold the largest share of some class, each
    to the split that lacks its classes most. What a group is (a subject, or one record) is up to
    the caller. The result depends on the seed and on labels and groups, not on their order.

    Args:
      labels: the class of each record; any number stands for "none".
      groups: the group of each record.
      shares: the share of all records each split but "train" shall have.
      seed: decides between groups that are alike.
    """
    names = [TRAIN, *(split for split in shares if shares[split] > 0)]
    parts = np.array([1 - sum(shares.values()), *(shares[name] for name in names[1:])])
    group_names, places = np.unique(np.asarray(groups), return_inverse=True)
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.zeros((len(group_names), classes.max(initial=0) + 2))
    np.add.at(counts, (places, classes), 1)
    counts[:, -1] = counts[:, :-1].sum(1)  # the last column keeps the sizes of the splits
    totals = np.maximum(counts.sum(0), 1)
    order = np.random.default_rng(seed).permutation(len(group_names))
    order = order[np.argsort(-(counts / totals).max(1)[order], kind="stable")]
    target = np.maximum(parts[:, None] * totals, 1e-9)
    # Every class weighs the same, and the sizes of the splits as much as all classes together.
    weights = np.append(np.ones(len(totals) - 1), len(totals) - 1) / totals
    filled = np.zeros_like(target)
    chosen = np.zeros(len(group_names), np.int64)
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        mine = counts[group]
        # The change of sum((filled - target)^2 / target) for each split.
        change = (weights * mine * (mine + 2 * filled - 2 * target) / target).sum(1)
        empty = filled[:, -1] == 0
        if left <= empty.sum():  # few groups: none of the splits shall go without
            change[~empty] = np.inf
        chosen[group] = best = int(change.argmin())
        filled[best] += mine
    return [names[split] for split in chosen[places]]
