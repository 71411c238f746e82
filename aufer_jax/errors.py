"""What went wrong because of what the user gave, said in one line that names the nearest right spelling."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's: its text is all there is to say, entry points show no traceback."""


def unknown(what: str, value: object, permitted: Iterable[object]) -> UserError:
    """The error for a value that is not one of a set: names it, the set, and the nearest member."""
    names = [str(name) for name in permitted]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"{what}: {value!r} is not known; permitted: {', '.join(names)}.{hint}")
