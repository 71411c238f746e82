"""What a request brings: its bytes, within limits of size and time, and which kind of file they are."""

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aufer_jax.serve.limits import MB, Limits
from aufer_jax.serve.worker import CLIP, PICTURE

_LINGER = 2.0  # seconds for which the rest of a refused upload is taken and thrown away
_FORM, _ANY = "multipart/form-data", "application/octet-stream"
_WANTED = "send the bytes of one picture (Content-Type: image/...) or clip (video/...)"

# How files begin. What FFmpeg would take for a list of other files, or a script, is none of these.
_PICTURES = (
    rb"\x89PNG\r\n\x1a\n", rb"\xff\xd8", rb"GIF8", rb"BM", rb"II\*\0", rb"MM\0\*", rb"RIFF....WEBP",
)  # fmt: skip
_CLIPS = (
    rb"....(ftyp|moov|mdat|wide|free|skip)", rb"\x1a\x45\xdf\xa3", rb"RIFF....AVI ", rb"OggS",
    rb"\0\0\x01[\xba\xb3]", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", rb"FLV\x01", rb"\x47.{187}\x47",
    rb"....\x47.{191}\x47",
)  # fmt: skip
# Begin like a clip, but are pictures that the library does not read.
_OTHERS = re.compile(rb"....ftyp(hei|hev|mif|msf|avi)", re.DOTALL)
_KINDS = {
    name: re.compile(b"|".join(starts), re.DOTALL)
    for name, starts in ((PICTURE, _PICTURES), (CLIP, _CLIPS))
}


class Refused(Exception):
    """A request that is not answered as it wishes: a status, and why in one line."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None):
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


class Gone(Exception):
    """The client has left."""


@dataclasses.dataclass(frozen=True)
class Upload:
    """One file: its name as the client tells it, its bytes, and whether it is a clip."""

    name: str
    data: bytes
    clip: bool


class Room:
    """How many bytes of uploads are in memory, and that they are not more than `most`."""

    def __init__(self, most: int):
        self.most, self.held = most, 0

    @contextlib.contextmanager
    def shared(self) -> Iterator["Share"]:
        """What one request holds, until it ends."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give()


class Share:
    """The bytes of one request."""

    def __init__(self, room: Room):
        self._room, self.held = room, 0

    def take(self, count: int) -> None:
        """Holds some more bytes, or refuses."""
        if self._room.held + count > self._room.most:
            raise Refused(503, "too many uploads at once; try again soon", {"Retry-After": "2"})
        self._room.held += count
        self.held += count

    def give(self) -> None:
        """Holds nothing any more."""
        self._room.held -= self.held
        self.held = 0

    def moved(self) -> "Share":
        """The same bytes, held by another that outlives this one."""
        other = Share(self._room)
        other.held, self.held = self.held, 0
        return other


async def read(scope: Any, receive: Any, limits: Limits, share: Share) -> Upload:
    """The one file of a request."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    given = headers.get(b"content-type", b"").decode("latin-1")
    kind = given.partition(";")[0].strip().lower()
    if kind not in (_FORM, _ANY, "") and kind.partition("/")[0] not in ("image", "video"):
        raise Refused(415, f"Content-Type: {kind!r} is not taken; {_WANTED}")
    most = limits.body * MB
    stated = headers.get(b"content-length", b"")
    if stated.isdigit() and int(stated) > most:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout):
            body = await _body(receive, most, share, limits)
    except TimeoutError:
        text = f"the upload has not arrived within {limits.timeout:g} seconds"
        raise Refused(408, text, {"Connection": "close"}) from None
    name, data = _part(given, body) if kind == _FORM else ("", body)
    if not data:
        raise Refused(400, f"nothing was sent; {_WANTED}")
    if _OTHERS.match(data):
        raise Refused(415, "HEIC and AVIF pictures are not read; send it as JPEG or PNG")
    found = next((n for n, starts in _KINDS.items() if starts.match(data)), "")
    if not found and kind in (_FORM, _ANY, ""):
        raise Refused(415, f"neither a picture nor a clip that is known; {_WANTED}")
    if not found:
        raise Refused(422, f"not usable, not {'an image' if kind[0] == 'i' else 'a video'} file")
    return Upload(name or ("clip" if found == CLIP else "picture"), data, found == CLIP)


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"too large: at most {limits.body} MB are taken")


async def _body(receive: Any, most: int, share: Share, limits: Limits) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > most:
            raise _too_large(limits)
        share.take(len(part))
        parts.append(part)
    return b"".join(parts)


async def drain(scope: Any, receive: Any) -> None:
    """Throws away what is left of a refused upload, for a moment: a client that still sends hears nothing."""
    if any(name.lower() == b"expect" for name, _ in scope["headers"]):
        return  # it waits for our word
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            more = True
            while more:
                message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)


def _part(given: str, body: bytes) -> tuple[str, bytes]:
    """Name and bytes of the first file of a form."""
    found = re.search(r'boundary="?([^";]{1,70})', given)
    if not found:
        raise Refused(400, "Content-Type: a form without a boundary")
    mark = b"\r\n--" + found[1].strip().encode("latin-1")
    text, at = b"\r\n" + body, 0
    while (start := text.find(mark, at)) >= 0:
        start += len(mark)
        end = text.find(mark, start)
        head, _, data = text[start : end if end >= 0 else len(text)].partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]*)"', head)
        if name and end >= 0:
            return _plain(name[1].decode("utf-8", "replace")), data
        at = start
    raise Refused(400, "a form without a file, or one that is cut off")


def _plain(name: str) -> str:
    """The last part of a path, as one short line."""
    last = re.split(r"[\\/]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:100]
