"""What went wrong because of what the user gave, said in one line that names the nearest right spelling."""

import difflib
import errno
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import ParamSpec

P = ParamSpec("P")
_MANY = 20  # names that a line can list
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
_NAME = (errno.ENAMETOOLONG, errno.ELOOP)


class UserError(ValueError):
    """A mistake of the user's: its text is all there is to say, entry points show no traceback."""


def brief(error: Exception, most: int = 200) -> str:
    """What an error of a library says, in one line that is not too long: some repeat what they have read."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def unknown(what: str, value: object, permitted: Iterable[object]) -> UserError:
    """The error for a value that is not one of a set: names it, the set, and the nearest member.

    >>> print(unknown("optimizer.name", "adm", ("adam", "sgd")))
    optimizer.name: 'adm' is not known; choose one of: adam, sgd. Did you mean 'adam'?
    """
    names = [str(name) for name in permitted]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names)
    if len(names) > _MANY:
        nearest = difflib.get_close_matches(str(value), names, n=3, cutoff=0)
        listed = f"{', '.join(nearest)} and {len(names) - 3} others"
    return UserError(f"{what}: {value!r} is not known; choose one of: {listed}.{hint}")


def boundary(program: Callable[P, object]) -> Callable[P, int]:
    """Makes an entry point of a program: it returns the exit code, and what the user did ends in one line.

    That is a `UserError`, or a file that cannot be opened and is not the package's own. Anything else is a
    mistake of ours and keeps its traceback.
    """

    @functools.wraps(program)
    def entry(*given: P.args, **options: P.kwargs) -> int:
        try:
            program(*given, **options)
            sys.stdout.flush()
        except UserError as error:
            return _end(str(error), 2)
        except BrokenPipeError:  # `aufer ... | head`: nobody reads any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except KeyboardInterrupt:
            return _end("interrupted", 130)
        except OSError as error:
            if not _is_the_users(error):
                raise
            return _end(f"{error.filename or 'writing'}: {error.strerror}", 2)
        return 0

    return entry


def _end(line: str, code: int) -> int:
    sys.stdout.flush()
    print(f"aufer: {line}", file=sys.stderr)
    return code


def _is_the_users(error: OSError) -> bool:
    """Whether a file is missing, or closed to us, that is not one of the package's own, or a disk is full."""
    if error.errno in (*_DISK, *_NAME):
        return True
    kinds = (
        FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError,
    )  # fmt: skip
    if not isinstance(error, kinds) or not isinstance(error.filename, (str, os.PathLike)):
        return False
    package = pathlib.Path(__file__).parent
    return package not in pathlib.Path(error.filename).absolute().parents
