"""One encoded image of a source: is it whole, is it plain, and if not, the plain one to store."""

import dataclasses
import hashlib
import io
import struct
import threading
import warnings
import zlib

import cv2
import numpy as np
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from aufer_jax.geometry import align
from aufer_jax.sources import limits

MAX_SIDE = 1024  # pixels; longer images are shrunk
MIN_SIDE = 8  # pixels; smaller images are left out
QUALITY = 95  # of the JPEGs that replace images that are not plain

_STRIP = 2**20  # pixels that are made eight-bit colour at a time
_BITS, _FORMAT = 258, 339  # TIFF tags: of a sample, and whether it is a whole number
_ALONE = threading.Lock()  # threads share the filters of warnings
_ORIENTATION = ExifTags.Base.Orientation.value
# How files begin that Pillow reads the headers of. OpenCV reads the pixels, two to three times as fast.
_KINDS = {
    b"\xff\xd8": JpegImageFile,
    b"GIF8": GifImageFile,
    b"BM": BmpImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"RIFF": WebPImageFile,
}
_BROKEN = {
    JpegImageFile: "truncated: JPEG ends too early",
    WebPImageFile: "truncated: WebP ends too early",
}


class Unreadable(ValueError):
    """What is wrong with an image file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What was found out about an image file.

    Attributes:
      problem: why it cannot be used; empty if it can.
      changes: what was done to make it plain; empty if its own bytes are stored.
      width, height: pixels, as stored.
      digest: of the file's bytes.
      likeness: perceptual hash; see `perceptual_hash`.
      matrix: the map [2, 3] as six numbers from the file's pixels to those stored; empty: the same.
    """

    problem: str = ""
    changes: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    digest: str = ""
    likeness: tuple[int, int] = (0, 0)
    matrix: tuple[float, ...] = ()

    def move(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the file in the pixels of what is stored."""
        if not self.matrix:
            return points
        return align.transform(points, np.array(self.matrix).reshape(2, 3))

    def back(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of what is stored in the pixels of the file."""
        if not self.matrix:
            return points
        matrix = np.array(self.matrix).reshape(2, 3)
        return align.transform(points, cv2.invertAffineTransform(matrix))


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """The part of an image that is kept: pixels of the file, or shares of the upright image."""

    left: float
    top: float
    right: float
    bottom: float
    shares: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How large images may be; larger ones are shrunk to it, smaller ones stay."""

    pixels: int
    side: str = "longer"  # or "shorter": which side is meant

    def measured(self, width: int, height: int) -> int:
        """The side that the limit is of."""
        return (max if self.side == "longer" else min)(width, height)


@dataclasses.dataclass(frozen=True)
class _Header:
    width: int = 0
    height: int = 0
    orientation: int = 1  # EXIF
    changes: tuple[str, ...] = ()  # what must be done for being no plain JPEG or PNG
    jpeg: bool = False
    turned: bool = False  # the decoder turns it as its orientation says


def check(
    data: bytes, cut: Cut | None = None, size: Size | None = None
) -> tuple[Checked, bytes | None]:
    """Checks an encoded image, and encodes anew what is cut, too large or no plain JPEG or PNG.

    Without a size the longer side may have `MAX_SIDE` pixels.

    Returns:
      What was found, and the bytes to store; None if the file's own bytes are to be stored or
      the file cannot be used.
    """
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    try:
        return _check(data, digest, cut, size or Size(MAX_SIDE))
    except (Unreadable, cv2.error, MemoryError) as error:
        reason = str(error) if isinstance(error, Unreadable) else "cannot be decoded"
        return Checked(problem=reason, digest=digest), None


def _check(data: bytes, digest: str, cut: Cut | None, size: Size) -> tuple[Checked, bytes | None]:
    with _ALONE, warnings.catch_warnings():  # Pillow warns of damage that does not matter here
        warnings.simplefilter("ignore")
        header = _header(data)
    check_size(header.width, header.height)
    image, matrix = _decode(data, header, size if cut is None else None)
    if min(image.shape[:2]) < MIN_SIDE or 0 < min(header.width, header.height) < MIN_SIDE:
        shape = f"{header.width or image.shape[1]}x{header.height or image.shape[0]}"
        raise Unreadable(f"too small: {shape} pixels")
    changes = header.changes
    image, extra = _eight_bit_colour(image)
    changes += tuple(change for change in extra if change not in changes)
    image, turn = _upright(image, header)
    if turn is not None:
        changes, matrix = (*changes, "rotated upright"), align.compose(turn, matrix)
    side = max(size.measured(header.width, header.height), size.measured(*image.shape[:2]))
    if cut is not None:
        image, shift = _cut(image, cut, matrix)
        changes, matrix = (*changes, "cut"), align.compose(shift, matrix)
        side = size.measured(*image.shape[:2])
    if side > size.pixels:
        image, shrink = _shrunk(image, size)
        changes = (*changes, f"shrunk from {side} px")
        matrix = align.compose(shrink, matrix)
    height, width = image.shape[:2]
    likeness = perceptual_hash(image)
    if not changes:
        return Checked("", (), width, height, digest, likeness), None
    moved = () if np.allclose(matrix, np.eye(2, 3)) else tuple(matrix.ravel().tolist())
    return Checked("", changes, width, height, digest, likeness, moved), encode(image)


def check_size(width: int, height: int) -> None:
    """Raises `Unreadable` for more pixels than are decoded."""
    if width * height > limits.most("PIXELS"):
        raise Unreadable(f"too large: {width}x{height} pixels")


def frame(image: np.ndarray, size: Size | None = None) -> tuple[Checked, bytes]:
    """Checks and encodes a decoded frame of a video, BGR [H, W, 3], like `check`."""
    size, changes, height, width = size or Size(MAX_SIDE), (), *image.shape[:2]
    try:
        if min(width, height) < MIN_SIDE:
            raise Unreadable(f"too small: {width}x{height} pixels")
        side = size.measured(width, height)
        if side > size.pixels:
            image, changes = _shrunk(image, size)[0], (f"shrunk from {side} px",)
    except Unreadable as error:
        return Checked(problem=str(error)), b""
    data = encode(image)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    height, width = image.shape[:2]
    return Checked("", changes, width, height, digest, perceptual_hash(image)), data


def encode(image: np.ndarray) -> bytes:
    """A JPEG of `QUALITY` with full colour resolution of a BGR image."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def _decode(data: bytes, header: _Header, size: Size | None) -> tuple[np.ndarray, np.ndarray]:
    """The pixels in the file's own orientation, and the map [2, 3] from the file's to these.

    With a size the pixels may be fewer than the file's, but never fewer than that.
    """
    side, times = size.measured(header.width, header.height) if size else 0, 1
    mode = cv2.IMREAD_COLOR if header.jpeg else cv2.IMREAD_UNCHANGED
    if header.jpeg:
        # Averaging blocks of pixels in the JPEG decoder saves time: it skips work.
        reduced = {
            2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8,
        }
        for factor, flag in reduced.items():
            if size and side >= factor * size.pixels:
                times, mode = factor, flag
        mode |= cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise Unreadable("cannot be decoded")
    between = (1 / times - 1) / 2
    return image, np.array([[1 / times, 0, between], [0, 1 / times, between]])


def _eight_bit_colour(image: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """BGR uint8 [H, W, 3], transparency on black, and what was done to get it."""
    if image.dtype not in (np.uint8, np.uint16):
        raise Unreadable(f"pixels of type {image.dtype}")
    done = ("16 bits to 8",) if image.dtype == np.uint16 else ()
    if image.ndim == 3 and image.shape[2] == 4:
        done = (*done, "transparency on black")
    elif image.ndim == 3 and not done:
        return image, done
    height, width = image.shape[:2]
    plain = np.empty((height, width, 3), np.uint8)
    rows = max(
        1, _STRIP // width
    )  # a few at a time: the room for all would be many times the image's
    for row in range(0, height, rows):
        plain[row : row + rows] = _plain(image[row : row + rows])
    return plain, done


def _plain(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        return image
    opaque = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * opaque + 127) // 255).astype(np.uint8)


def _upright(image: np.ndarray, header: _Header) -> tuple[np.ndarray, np.ndarray | None]:
    """The image turned as its EXIF orientation says, and the map [2, 3] of its points."""
    orientation = header.orientation
    if not 2 <= orientation <= 8:
        return image, None
    right, bottom = image.shape[1] - 1, image.shape[0] - 1
    if header.turned and orientation >= 5:
        right, bottom = bottom, right
    matrix = {
        2: [[-1, 0, right], [0, 1, 0]],
        3: [[-1, 0, right], [0, -1, bottom]],
        4: [[1, 0, 0], [0, -1, bottom]],
        5: [[0, 1, 0], [1, 0, 0]],
        6: [[0, -1, bottom], [1, 0, 0]],
        7: [[0, -1, bottom], [-1, 0, right]],
        8: [[0, 1, 0], [-1, 0, right]],
    }[orientation]
    if header.turned:
        return image, np.array(matrix, np.float64)
    turned = cv2.transpose(image) if orientation >= 5 else image
    mirror = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    if orientation in mirror:
        turned = cv2.flip(turned, mirror[orientation])
    return turned, np.array(matrix, np.float64)


def _cut(image: np.ndarray, cut: Cut, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A part of an upright image, and the map [2, 3] of its points; `matrix` led to the image."""
    height, width = image.shape[:2]
    corners = np.array([[cut.left, cut.top], [cut.right, cut.bottom]])
    if cut.shares:
        corners = corners * (width, height)
    else:
        corners = align.transform(corners, matrix)
    left, top = np.clip(np.floor(corners.min(0) + 0.5), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.floor(corners.max(0) + 0.5), 0, (width, height)).astype(int)
    if min(right - left, bottom - top) < MIN_SIDE:
        raise Unreadable(f"too small: {right - left}x{bottom - top} pixels inside the cut")
    return image[top:bottom, left:right], np.array([[1.0, 0, -left], [0, 1, -top]])


def _shrunk(image: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    factor = min(1.0, size.pixels / size.measured(width, height))
    shape = max(1, round(width * factor)), max(1, round(height * factor))
    x, y = shape[0] / width, shape[1] / height
    matrix = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])
    if min(shape) < MIN_SIDE:
        raise Unreadable(f"too narrow: {width}x{height} pixels")
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA), matrix


def perceptual_hash(image: np.ndarray) -> tuple[int, int]:
    """Twice 64 bits that survive new compression, size and brightness of a BGR image.

    Both tell which coefficients of a 32 x 32 cosine transform of the grey image lie above their
    median: the 8 x 8 lowest without the mean, and the 64 beside and below those. Aligned faces
    are so alike that the first alone takes different people for one.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)
    coarse = waves[:8, :8].ravel()
    fine = np.concatenate([waves[:8, 8:12].ravel(), waves[8:12, :8].ravel()])
    coarse[0] = -np.inf
    return _bits(coarse > np.median(coarse[1:])), _bits(fine > np.median(fine))


def _bits(flags: np.ndarray) -> int:
    return int.from_bytes(np.packbits(flags).tobytes(), "big")


# --- Headers ------------------------------------------------------------------------------------


def _header(data: bytes) -> _Header:
    """What the file says of itself; raises `Unreadable` if it is not a whole image."""
    if not data:
        raise Unreadable("empty file")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"RIFF"):
        check_size(*_webp_size(data))  # Pillow makes room for the pixels as it opens the file
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
    if kind is None:
        raise Unreadable("not an image file")
    stream = io.BytesIO(data)
    try:
        file = kind(stream)
    except (SyntaxError, ValueError, OSError, Image.DecompressionBombError) as error:
        raise Unreadable(_BROKEN.get(kind, "cannot be decoded")) from error
    width, height = file.size
    if isinstance(file, TiffImageFile):
        if any(kind == 3 for kind in file.tag_v2.get(_FORMAT, ())):
            raise Unreadable(f"pixels of type float{file.tag_v2.get(_BITS, (32,))[0]}")
        orientation = _turn(file.tag_v2.get(_ORIENTATION))
        return _Header(width, height, orientation, ("TIFF to JPEG",), turned=True)
    orientation = _orientation(file.info.get("exif", b""))
    if not isinstance(file, JpegImageFile):
        name = "WebP" if file.format == "WEBP" else file.format
        return _Header(width, height, orientation, (f"{name} to JPEG",))
    # Pillow has stopped where the pixels begin. In them 0xFF is escaped: this can only be the end.
    if data.find(b"\xff\xd9", stream.tell()) < 0:
        raise Unreadable(_BROKEN[kind])
    changes = ("CMYK to RGB",) if file.layers == 4 else ()
    return _Header(width, height, orientation, changes, jpeg=True)


def _png(data: bytes) -> _Header:
    # By hand: Pillow finds what stands behind the pixels, and damage, only by decoding all of them.
    chunks, at = {}, 8
    while at + 12 <= len(data) and b"IEND" not in chunks:
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            break
        chunks[data[at + 4 : at + 8]] = data[at + 8 : end]
        at = end + 4
    if b"IEND" not in chunks or len(chunks.get(b"IHDR", b"")) < 13:
        raise Unreadable("truncated or damaged PNG")
    width, height, bits, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    changes: tuple[str, ...] = ("palette to RGB",) if colour == 3 else ()
    if bits != 8 and colour != 3:
        changes = (f"{bits} bits to 8",)
    if colour in (4, 6) or b"tRNS" in chunks:
        changes = (*changes, "transparency on black")
    return _Header(width, height, _orientation(chunks.get(b"eXIf", b"")), changes)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height as the first chunk says; zeros if it is none."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _orientation(data: bytes) -> int:
    """That of EXIF data; 1 is upright."""
    exif = Image.Exif()
    try:
        exif.load(data)
    except (SyntaxError, ValueError, struct.error):
        return 1  # damaged, which no reader minds
    return _turn(exif.get(_ORIENTATION))


def _turn(written: object) -> int:
    """An orientation as it is written; upright where that is no whole number."""
    return written if isinstance(written, int) else 1
