"""The page and the API as an ASGI application, around one network."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from aufer_jax.errors import UserError, unknown

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError as error:
    raise UserError(
        "serve: starlette is not installed; run: pip install 'aufer-jax[serve]'"
    ) from error

from aufer_jax.runs import Predictor
from aufer_jax.serve import answers, guard, heat, openapi, page, uploads
from aufer_jax.serve import metrics as counting
from aufer_jax.serve.limits import MB, Limits
from aufer_jax.serve.uploads import Gone, Refused
from aufer_jax.serve.worker import END, Found, Full, Job, Problem, Told, Worker

Handler = Callable[[Request], Awaitable[Response]]
_NOTHING_SEEN = "not usable, nothing in it can be decoded"


def build(
    network: Predictor, limits: Limits | None = None, names: tuple[str, ...] = ()
) -> guard.Guard:
    """The application; `names`: hosts that requests may be for, empty for any.

    Its worker begins and ends with it, so it must be run with its lifespan.
    """
    service = _Service(network, limits or Limits())
    routes = [Route(path, getattr(service, name), methods=[method.upper()])
              for path, method, name in openapi.ROUTES]  # fmt: skip
    app = Starlette(
        routes=routes,
        lifespan=service.lifespan,
        exception_handlers={Refused: _refused, HTTPException: _not_found, Exception: _broken},
    )
    paths = {path for path, _, _ in openapi.ROUTES}
    return guard.Guard(app, service.worker, service.metrics, paths, names)


class _Service:
    """What the routes share."""

    def __init__(self, network: Predictor, limits: Limits):
        self.network, self.limits = network, limits
        self.metrics, self.room = counting.Metrics(), uploads.Room(limits.held * MB)
        self.worker = Worker(network, limits, self.metrics)
        self._page = page.document()
        self._card = answers.card(network, limits)
        self._described = openapi.document(network)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """The worker works as long as the application."""
        del app
        self.worker.start()
        yield
        await asyncio.to_thread(self.worker.stop)

    # --- What is told of the service ------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page."""
        del request
        headers = {"Content-Security-Policy": page.policy(self._page)}
        return Response(self._page, media_type="text/html", headers=headers)

    async def model(self, request: Request) -> Response:
        """The card of the network."""
        del request
        return JSONResponse(self._card)

    async def openapi(self, request: Request) -> Response:
        """The description of the API."""
        del request
        return JSONResponse(self._described)

    async def healthz(self, request: Request) -> Response:
        """Whether predictions can be made."""
        del request
        if not self.worker.alive:
            return guard.refusal(503, "the worker has ended")
        return JSONResponse({"status": "ok", "waiting": self.worker.waiting})

    async def metrics_text(self, request: Request) -> Response:
        """Counts, for Prometheus."""
        del request
        text = self.metrics.text(self.worker.waiting, self.room.held)
        return Response(text, media_type=counting.TYPE)

    # --- What is predicted ----------------------------------------------------------------------

    async def predict(self, request: Request) -> Response:
        """The table of one picture or clip."""
        form = _choice(request, "format", tuple(answers.FORMATS))
        mesh = _choice(request, "mesh", ("0", "1")) == "1"
        with self.room.shared() as share:
            upload = await uploads.read(request.scope, request.receive, self.limits, share)
            if form == "jsonl":
                return await self._streamed(request, upload, share)
            told = await self._all(request, upload, share)
        found = [one for one in told if isinstance(one, Found)]
        problems = [one.text for one in told if isinstance(one, Problem)]
        if not found:
            raise Refused(422, "; ".join(problems) or _NOTHING_SEEN)
        media = answers.FORMATS[form]
        if form == "csv":
            return Response(await asyncio.to_thread(answers.csv, found), media_type=media)
        text = await asyncio.to_thread(answers.table, self.network, found, problems, mesh)
        return Response(text, media_type=media)

    async def heatmap(self, request: Request) -> Response:
        """A transparent picture to lay over the one that was sent."""
        kind = _choice(request, "kind", heat.KINDS)
        face = request.query_params.get("face", "0")
        if not (face.isdecimal() and len(face) < 5):
            raise Refused(400, f"face: {face[:20]!r} is not a whole number from 0")
        with self.room.shared() as share:
            upload = await uploads.read(request.scope, request.receive, self.limits, share)
            if upload.clip:
                raise Refused(415, "heatmaps are of pictures; send one frame of the clip")
            told = await self._all(request, upload, share, kind=kind, face=int(face))
        for one in told:
            if isinstance(one, Problem):
                raise Refused(422, one.text)
        found = next((one for one in told if isinstance(one, Found)), None)
        if found is None:
            raise Refused(422, _NOTHING_SEEN)
        return Response(found.overlay, media_type="image/png")

    async def _streamed(
        self, request: Request, upload: uploads.Upload, share: uploads.Share
    ) -> Response:
        """Rows as lines, as soon as they are known; problems, if any, are the last line."""
        parts = self._told(request, upload, share)
        first = await anext(parts, Problem(_NOTHING_SEEN))
        if isinstance(first, Problem):
            raise Refused(422, first.text)

        async def text() -> AsyncIterator[str]:
            problems = []
            try:
                yield await asyncio.to_thread(answers.lines, first)
                async for told in parts:
                    if isinstance(told, Problem):
                        problems.append(told.text)
                    else:
                        yield await asyncio.to_thread(answers.lines, told)
            except Refused as refused:  # too late for a status
                problems.append(refused.text)
            finally:
                await parts.aclose()
            if problems:
                yield answers.last_line(problems)

        return StreamingResponse(text(), media_type=answers.FORMATS["jsonl"])

    async def _all(
        self, request: Request, upload: uploads.Upload, share: uploads.Share, **wanted: Any
    ) -> list[Told]:
        return [told async for told in self._told(request, upload, share, **wanted)]

    async def _told(
        self, request: Request, upload: uploads.Upload, share: uploads.Share, **wanted: Any
    ) -> AsyncGenerator[Found | Problem, None]:
        """What the worker says of an upload; `Gone` where the client leaves before it has answered.

        The upload's share is given back when nobody has the bytes any more, neither this nor the worker.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Told]()
        ended = asyncio.Event()

        def hear(told: Told) -> None:
            queue.put_nowait(told)
            if told is END:
                ended.set()
                if job.gone:
                    held.give()

        def tell(told: Told) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(hear, told)

        job = Job(upload.name, upload.data, upload.clip, tell, **wanted)
        try:
            self.worker.put(job)
        except Full as full:
            text = "too much is waiting; try again"
            raise Refused(503, text, {"Retry-After": str(full.after)}) from None
        held = share.moved()
        left = asyncio.ensure_future(_left(request))
        try:
            while True:
                told = asyncio.ensure_future(queue.get())
                await asyncio.wait((told, left), return_when=asyncio.FIRST_COMPLETED)
                if not told.done():
                    told.cancel()
                    raise Gone
                one = told.result()
                if one is None:  # the end
                    return
                if isinstance(one, Problem) and one.broken:
                    raise Refused(503 if not self.worker.alive else 500, one.text)
                yield one
        finally:
            left.cancel()
            if self.worker.drop(job) or ended.is_set():
                held.give()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _choice(request: Request, name: str, permitted: tuple[str, ...]) -> str:
    """A query parameter that is one of several, the first if it is not given."""
    given = request.query_params.get(name, permitted[0])
    if given not in permitted:
        raise Refused(400, str(unknown(name, given[:50], permitted)))
    return given


# --- What goes wrong ----------------------------------------------------------------------------


async def _refused(request: Request, error: Any) -> Response:
    del request
    return guard.refusal(error.status, error.text, error.headers)


async def _not_found(request: Request, error: Any) -> Response:
    known = ", ".join(path for path, _, _ in openapi.ROUTES)
    text = f"{request.url.path[:100]!r}: {error.detail.lower()}; there are {known}"
    return guard.refusal(error.status_code, text, dict(error.headers or {}))


async def _broken(request: Request, error: Exception) -> Response:
    del request, error  # Starlette raises it again, for the log
    return guard.refusal(500, "a mistake of ours; the server's log says more")
