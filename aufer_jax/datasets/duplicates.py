"""Images that occur twice: with different labels, or in different splits."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

DISTANCE = 4  # bits of 64 in which either hash of two images may differ

_BLOCK = 512


def label_conflicts(digests: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Groups of records with the same bytes but not the same label."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        groups[digest].append(index)
    return [group for group in groups.values() if len({labels[i] for i in group}) > 1]


def across_splits(
    likeness: Sequence[tuple[int, int]], splits: Sequence[str], distance: int = DISTANCE
) -> list[tuple[int, int, int]]:
    """Pairs of records of different splits that look the same, and the bits in which they differ.

    Every pair is compared, a thousand million in about a second.
    """
    hashes = np.array(likeness, np.uint64).reshape(-1, 2)
    names = np.array(splits)
    places = [np.flatnonzero(names == split) for split in dict.fromkeys(splits)]
    pairs = []
    for i, a in enumerate(places):
        for b in places[i + 1 :]:
            near = _near(hashes[a], hashes[b], distance)
            pairs += [(int(a[x]), int(b[y]), bits) for x, y, bits in near]
    return sorted(pairs, key=lambda pair: (pair[2], pair[:2]))


def _near(a: np.ndarray, b: np.ndarray, distance: int) -> Iterator[tuple[int, int, int]]:
    for x, y in itertools.product(range(0, len(a), _BLOCK), range(0, len(b), 16 * _BLOCK)):
        coarse = np.bitwise_count(
            a[x : x + _BLOCK, None, 0] ^ b[None, y : y + 16 * _BLOCK, 0],
        )
        rows, columns = np.nonzero(coarse <= distance)
        fine = np.bitwise_count(a[x + rows, 1] ^ b[y + columns, 1])
        for i in np.flatnonzero(fine <= distance):
            row, column = rows[i], columns[i]
            yield x + int(row), y + int(column), int(coarse[row, column]) + int(fine[i])
