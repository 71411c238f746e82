"""The split lists of published clip datasets, their folds, and which copy of the frames is taken."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from aufer_jax import errors, facs
from aufer_jax.datasets import clip_files, splits
from aufer_jax.datasets.clip_files import Found
from aufer_jax.datasets.listing import Clip, Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.sources.files import Files, base_name

IN_TWO_FOLDS = "Clips in the test lists of two sets, taken for the first"
IN_BOTH_LISTS = "Clips in the train and the test list of one set"
IN_NO_TEST_LIST = "Clips of the train lists in no test list, not used"
LABELS_DIFFER = "Clips with different labels in the lists, taken from the first"

_SET = re.compile(r"(?:set|split|fold)[_-]?0*(\d+)(?!\d)", re.IGNORECASE)
_LISTS = (".csv", ".txt")


class Row(NamedTuple):
    """One line of a split list."""

    name: str
    label: str
    commas: bool = False  # DFEW's own lists have commas, the others spaces


def rows(listing: Listing, path: str, text: str) -> Iterator[Row]:
    """The lines of a list: `name label`, `name frames label`, or `name,label`, with or without a header."""
    for number, line in enumerate(text.splitlines(), 1):
        commas = "," in line
        cells = [cell.strip() for cell in (line.split(",") if commas else line.split())]
        if not any(cells):
            continue
        if len(cells) in (2, 3) and _is_label(cells[-1]):
            yield Row(cells[0], cells[-1], commas)
        elif number > 1:  # else a header
            listing.problem(f"lines of {path} that are not a name and a label", f"{number}: {line}")


def _is_label(text: str) -> bool:
    try:
        return text.isdecimal() or bool(facs.expression(text))
    except ValueError:
        return False


# --- Clips --------------------------------------------------------------------------------------


def find_clips(listing: Listing, variant: str, variants: tuple[str, ...] = ()) -> Found:
    """The clips of the source; of the folder `variant`, else of the first of `variants` that it has."""
    found = Found(listing.files)
    parts = {part for path in found.frames for part in path.split("/")[:-1]}
    if variant and variant not in parts:
        raise errors.unknown("variant, a folder of the source", variant, sorted(parts))
    there = [v for v in variants if v in parts]
    chosen = variant or next(iter(there), "")
    if chosen:
        found.only(chosen)
    others = [name for name in there if name != chosen]
    if others:
        listing.remarks.append(f"frames of {chosen}; the source also has {', '.join(others)}")
    return found


def add_clip(listing: Listing, found: Found, order: str, row: Row, split: str) -> None:
    """Adds the clip that a row names, its frames in an order of `options.FRAME_ORDERS`."""
    paths = found.find(row.name)
    if len(paths) > 1:
        what = "clips of which there are several copies; --variant names the folder of one"
        listing.problem(f"{what}: {row.name}", ", ".join(paths[:3]))
    elif not paths:
        listing.missing.append(row.name)
    else:
        frames = clip_files.in_order(found.frames[paths[0]], order)
        listing.add(Clip(paths[0], row.label, split=split, frames=frames))


# --- Folds --------------------------------------------------------------------------------------


def folds(
    listing: Listing,
    place: Files,
    plain: Callable[[Row], Row],
    *,
    count: int = 5,
    others: tuple[str, ...] = (),
) -> dict[Row, int]:
    """The clips of a cross-validation's test lists, each with its set; empty without whole lists.

    The test lists are the folds. The train lists are the complements and are only compared.

    Args:
      listing: takes notes of what the lists contradict each other in.
      place: where the lists are.
      plain: gives a row the name that its clip has in the source, and its label as `label_map` has it.
      count: how many sets there are.
      others: parts of the paths of lists that are of something else.
    """
    series = _series(place, count, others)
    if not series:
        return {}
    held = [_test_lists(listing, place, tests, plain) for tests in series]
    if any(other != held[0] for other in held[1:]):
        shown = ", ".join(tests[1] for tests in series)
        raise errors.UserError(
            f"lists: {shown} disagree; name a folder with one of them with lists"
        )
    _compare(listing, place, series[0], held[0], plain)
    return {Row(name, label): fold for name, (fold, label) in held[0].items()}


def add_folds(
    listing: Listing, found: Found, options: PublishedClipOptions, clips: Mapping[Row, int]
) -> None:
    """Adds the clips that `folds` gives."""
    for row, fold in clips.items():
        add_clip(listing, found, options.frame_order, row, splits.fold(fold))


def _test_lists(
    listing: Listing, place: Files, tests: Mapping[int, str], plain: Callable[[Row], Row]
) -> dict[str, tuple[int, str]]:
    """Clip -> its fold and label."""
    found: dict[str, tuple[int, str]] = {}
    for fold, path in sorted(tests.items()):
        for row in map(plain, rows(listing, path, place.open_text(path))):
            if row.name not in found:
                found[row.name] = fold, row.label
            elif found[row.name][0] == fold:
                listing.second_row(row.name, "a clip")
            else:
                listing.note(IN_TWO_FOLDS, row.name)
    return found


def _compare(
    listing: Listing,
    place: Files,
    tests: Mapping[int, str],
    found: Mapping[str, tuple[int, str]],
    plain: Callable[[Row], Row],
) -> None:
    """Notes where the train lists contradict the folds."""
    strangers: dict[str, None] = {}
    for fold, path in sorted(tests.items()):
        train = _train_list(path)
        if train not in place:
            listing.remarks.append(f"no train list beside {path}; it was not compared")
            continue
        for row in map(plain, rows(listing, train, place.open_text(train))):
            if row.name not in found:
                strangers[row.name] = None
            elif found[row.name][0] == fold:
                listing.note(IN_BOTH_LISTS, f"{row.name}, set {fold}")
            elif found[row.name][1] != row.label:
                listing.note(LABELS_DIFFER, f"{row.name}, set {fold}")
    if strangers:
        listing.findings[IN_NO_TEST_LIST] = list(strangers)


def _series(files: Files, folds: int, others: tuple[str, ...]) -> list[dict[int, str]]:
    """The complete series of test lists: set -> path."""
    found: dict[str, dict[int, str]] = {}
    for path in files.names:
        tail = "/".join(path.split("/")[-2:])
        number = _SET.search(tail)
        if number is None or not path.lower().endswith(_LISTS) or "test" not in tail.lower():
            continue
        if any(other in path.lower() for other in others):
            continue
        head = path.removesuffix(tail)
        name = f"{head}{tail[: number.start(1)]}#{tail[number.end(1) :]}"
        found.setdefault(name, {})[int(number[1])] = path
    return [tests for tests in found.values() if set(tests) == set(range(1, folds + 1))]


def _train_list(test: str) -> str:
    """The path of the train list that goes with a test list."""
    *outer, inner, name = ["", "", *test.split("/")]
    if "test" in base_name(test).lower():
        name = re.sub("test", "train", name, flags=re.IGNORECASE)
    else:
        inner = re.sub("test", "train", inner, flags=re.IGNORECASE)
    return "/".join([*outer, inner, name]).lstrip("/")
