"""What servers on this machine have in common: a port that cannot be taken, and whom a request is for."""

import contextlib
from collections.abc import Iterator

from aufer_jax.errors import UserError


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    """Says in one line why nothing inside can listen there."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"port: {host}:{port} cannot be listened on: {error.strerror}; --port 0 takes a free one"
        ) from None
    except OverflowError:
        raise UserError(f"port: {port} must be from 0 to 65535") from None


def hostname(host: str) -> str:
    """The host of a request's header, without the port.

    >>> hostname("LocalHost:8000"), hostname("[::1]:8000"), hostname("[::1]")
    ('localhost', '[::1]', '[::1]')
    """
    name, mark, port = host.lower().rpartition(":")
    return name if mark and port.isdigit() else host.lower()
