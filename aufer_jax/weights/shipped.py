"""The networks that come with this package: `small` and `clean`, folders of converted weights.

`small` learned from drawn faces and photographs, `clean` from drawn faces alone; data/CARD.md says how,
and what they are good for.
"""

import pathlib

from aufer_jax import remote

NAMES = ("small", "clean")
_DATA = pathlib.Path(__file__).parent / "data"


def place(name: str | pathlib.Path) -> pathlib.Path:
    """The folder of the shipped network of that name; any other path as it is, fetched if it is in a store.

    What is called so where the caller stands is written ./small.
    """
    return _DATA / name if str(name) in NAMES else remote.copy(name)
