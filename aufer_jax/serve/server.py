"""The application on a socket: listening, patience with slow clients, and a clean end."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from aufer_jax.errors import UserError

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise UserError(
        "serve: uvicorn is not installed; run: pip install 'aufer-jax[serve]'"
    ) from error

from aufer_jax.pages import local
from aufer_jax.serve.limits import Limits

_GRACE = 5  # seconds in which answers that are under way may end


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one."""
    with local.listening(host, port):
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family, backlog=512)


class Server(uvicorn.Server):
    """A server of one application; CTRL-C and SIGTERM end it as a success.

    `ready` is called when it listens, `ending` when a signal has come, inside its handler.
    """

    def __init__(
        self, app: Any, limits: Limits, ready: Callable[[], None], ending: Callable[[], None]
    ):
        super().__init__(
            uvicorn.Config(
                app,
                http=_patient(limits.head),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level=logging.CRITICAL,  # the guard logs our mistakes
                access_log=False,
                server_header=False,
                limit_concurrency=limits.connections,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._ready, self._ending = ready, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says when it listens."""
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Ends soon; a second signal at once."""
        self._ending()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but the signals are not raised again at the end."""
        with contextlib.suppress(ValueError):  # not the main thread, as in tests
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.handle_exit)
        yield


def _patient(seconds: float) -> type[asyncio.Protocol]:
    """A protocol that hangs up on clients that have not sent a request's whole head, or read, for so long."""

    class Patient(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def _wait(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
            self._waiting = self.loop.call_later(seconds, self._hang_up)

        def _hang_up(self) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and not self.transport.is_closing():
                self.transport.close()

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._unread is not None:
                self._unread.cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in (self._waiting, self._unread):
                if timer is not None:
                    timer.cancel()

    return Patient
