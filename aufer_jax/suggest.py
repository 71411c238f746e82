"""Error messages that name the nearest right spelling."""

import difflib
from collections.abc import Iterable


def unknown(what: str, value: object, permitted: Iterable[object]) -> ValueError:
    """The error for a value that is not one of a set: names it, the set, and the nearest member."""
    names = [str(name) for name in permitted]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{what}: {value!r} is not known; permitted: {', '.join(names)}.{hint}")
