"""What stands before every route: whose requests are heard, safe headers on every answer, counting."""

import ipaddress
import logging
import time
from collections.abc import Collection

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aufer_jax.pages.local import hostname
from aufer_jax.serve import uploads
from aufer_jax.serve.metrics import Metrics
from aufer_jax.serve.worker import Worker

log = logging.getLogger(__name__)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_OTHERS = ("cross-site", "same-site")
LEFT = 499  # what is counted where the client has left
NOTHING = "default-src 'none'; frame-ancestors 'none'"


def refusal(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer of one clear line."""
    return JSONResponse({"error": text}, status, headers)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """An application around another.

    Args:
      app: the other.
      worker: that predicts for it.
      metrics: is told of every request.
      paths: those that are counted by name.
      names: hosts that requests may be for; empty: any. A page of another site can lead its name to this
        machine, and would then be of the same origin.
    """

    def __init__(
        self,
        app: ASGIApp,
        worker: Worker,
        metrics: Metrics,
        paths: Collection[str],
        names: Collection[str],
    ):
        self._app, self.worker, self._metrics = app, worker, metrics
        self._paths, self._names = paths, frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, whole = time.monotonic(), LEFT, False

        async def received() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400 and not whole:
                    await uploads.drain(scope, received)
                message = {**message, "headers": _safe(message["headers"])}
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        try:
            told = self._refused(scope)
            if told is None:
                await self._app(scope, received, sent)
            else:
                await refusal(*told, {"Connection": "close"})(scope, received, sent)
        except uploads.Gone:
            status = LEFT
        except Exception:  # it has been answered, where it still could be
            log.exception("a request failed")
        finally:
            self._metrics.request(path, status, time.monotonic() - started)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, where a request is not heard."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._names and hostname(host) not in self._names:
            return 421, f"Host: {host[:100]!r} is not served here; see aufer serve --names"
        if scope["method"] == "POST" and headers.get(b"sec-fetch-site", "") in _OTHERS:
            return 403, "uploads from pages of other sites are not taken"
        return None


def _safe(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """With those that make answers harmless for a browser, where the answer has none of its own."""
    have = {name.lower() for name, _ in headers}
    more = {**_HEADERS, "Content-Security-Policy": NOTHING}
    return [
        *headers,
        *(
            (name.lower().encode(), value.encode())
            for name, value in more.items()
            if name.lower().encode() not in have
        ),
    ]
