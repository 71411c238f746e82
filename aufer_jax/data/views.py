"""The views of a face: aligned and augmented, mirrored and erased; on uint8 on the host."""

import dataclasses
import math

import cv2
import numpy as np

from aufer_jax import facs
from aufer_jax.data import colour as colours
from aufer_jax.data import randaugment, votes
from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.data.sampling import Sampling
from aufer_jax.errors import UserError, unknown
from aufer_jax.geometry import align

VIEWS = ("original", "erased", "heatmap")
ALIGN = (None, "5pt")
ERASE_FIRST = ("none", "shared", "independent")
AU_FRAMES = ("all", "sampled")
AU_LABELS = ("presence", "intensity")

NO_BOX = (0, 0, 0, 0)

_JPEG = b"\xff\xd8"
_TRIES = 10  # of random boxes before the image is left as it is
# ImageNet's mean colour and deviation, for erased boxes.
FILL = (124, 116, 104)
_FILL_STD = np.array([58.4, 57.1, 57.4], np.float32)
# What no recipe changes: AU-ViT's blur, EAC's noise, the magnitude of MAE-DFER's RandAugment.
_BLUR_SIGMA = (0.1, 5.0)
_BLUR_KERNEL = (5, 9)  # width, height
_NOISE_STD = math.sqrt(30)
_RAND_STRENGTH = (7.0, 0.5)  # mean and deviation


@dataclasses.dataclass(frozen=True)
class Augment:
    """Random changes of a training image; each of a clip's frames gets the same.

    Geometry is one affine map together with alignment and resizing, so pixels are sampled once. Only
    RandAugment needs the aligned, resized image first; geometry, then mirroring, follow it.
    """

    flip: float = 0.5  # probability of mirroring
    shift: int = 0  # most pixels to each side
    rotate: float = 0.0  # most degrees
    scale: float = 0.0  # most relative change of size
    crop: tuple[float, float] | None = None  # area kept, as fractions; resized to full size
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width to height
    crop_log_ratio: bool = False  # drawn evenly in its logarithm
    crop_swap: bool = True  # width and height are exchanged with probability 1/2
    brightness: float = 0.0  # factors are drawn from 1 - x to 1 + x
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # most turns of the colour circle
    shuffle_colour: bool = False  # these four in a random order instead of this one
    rand_ops: int = 0  # RandAugment's draws
    grayscale: float = 0.0  # probability
    blur: float = 0.0  # probability
    noise: float = 0.0  # probability
    erase: float = 0.0  # probability of a box as `Erase` draws and fills it, but for its `p`

    def __post_init__(self):
        for name in ("flip", "grayscale", "blur", "noise", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augment.{name}: got {getattr(self, name)}, it must be 0..1")
        if self.rand_ops < 0:
            raise UserError(f"augment.rand_ops: {self.rand_ops} must not be negative")


@dataclasses.dataclass(frozen=True)
class Erase:
    """Random erasing of the mirrored view.

    `first` says what happens to the original view: "none", the "shared" box (its mirror), or an
    "independent" box of its own.
    """

    p: float = 1.0
    area: tuple[float, float] = (0.02, 0.25)  # fractions of the image
    ratio: tuple[float, float] = (0.3, 3.3)  # height to width, drawn evenly in its logarithm
    noise: bool = False  # instead noise of ImageNet's mean and deviation, for every pixel and frame
    first: str = "none"

    def __post_init__(self):
        if self.first not in ERASE_FIRST:
            raise unknown("erase.first", self.first, ERASE_FIRST)
        if not 0 <= self.p <= 1:
            raise UserError(f"erase.p: got {self.p}, it must be 0..1")


ERASE = Erase()


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a batch holds and how its rows are made.

    Attributes:
      size: height and width of the images.
      aus: the AUs of the batch, in order; those a dataset lacks are unknown.
      au_threshold: the least intensity that counts as present (1 also suits 0/1 labels).
      expressions: the classes of the batch, in order; None keeps the dataset's own.
      labels: what votes and soft labels become in training, one of `votes.LABELS`; other than
        "majority", a batch has `expression_target` beside `expression`.
      views: which of "original", "erased" and "heatmap" are made.
      align: "5pt" aligns faces by their landmarks; None resizes the whole image.
      fill: what is seen where an image has ended, one of `align.FILLS`.
      clip: how frames are chosen, for clips; an image is then a clip of a single frame.
      au_frames: the AUs of a clip are those of "all" its frames, or of the "sampled" ones.
      au_labels: what an image's AUs are in training, 0 or 1 by their "presence", or their "intensity" as a
        share of the highest.
      train: without it nothing is random: no augmentation, no erasing, fixed frames.
    """

    size: int = 112
    aus: tuple[int, ...] = facs.AU_VIT_21
    au_threshold: float = 1.0
    expressions: tuple[str, ...] | None = None
    labels: str = "majority"
    views: tuple[str, ...] = ("original",)
    heatmap: HeatmapSpec = dataclasses.field(default_factory=HeatmapSpec)
    erase: Erase = dataclasses.field(default_factory=Erase)
    augment: Augment = dataclasses.field(default_factory=Augment)
    align: str | None = None
    fill: str = "black"
    clip: Sampling | None = None
    au_frames: str = "all"
    au_labels: str = "presence"
    train: bool = True

    def __post_init__(self):
        for view in self.views:
            if view not in VIEWS:
                raise unknown("views", view, VIEWS)
        if "original" not in self.views:
            raise UserError(f"views: got {self.views}, 'original' is always made")
        if self.labels not in votes.LABELS:
            raise unknown("labels", self.labels, votes.LABELS)
        if self.labels != "majority" and self.expressions is None:
            raise UserError(f"labels: {self.labels!r} needs the classes, `expressions`")
        if self.align not in ALIGN:
            raise unknown("align", self.align, ALIGN)
        if self.fill not in align.FILLS:
            raise unknown("fill", self.fill, align.FILLS)
        if self.au_frames not in AU_FRAMES:
            raise unknown("au_frames", self.au_frames, AU_FRAMES)
        if self.au_labels not in AU_LABELS:
            raise unknown("au_labels", self.au_labels, AU_LABELS)
        if self.clip and self.views != ("original",):
            raise UserError(f"views: got {self.views}, clips have only 'original'")
        if self.size < 1:
            raise UserError(f"size: got {self.size}, must be positive")


@dataclasses.dataclass(frozen=True)
class Draw:
    """One draw of all random changes."""

    geometry: np.ndarray | None  # [2, 3] from the aligned face to the image; None: unchanged
    mirrored: bool
    colour: tuple[float, float, float, float]  # brightness, contrast, saturation, hue
    blur: float  # sigma; 0: none
    noise: bool
    box: tuple[int, int, int, int] = NO_BOX  # erased: top, left, height, width
    order: tuple[int, ...] | None = None  # of `colour`; None: the usual one
    operations: tuple[randaugment.Operation, ...] = ()


UNCHANGED = Draw(None, False, (1.0, 1.0, 1.0, 0.0), 0.0, False)


def draw(augment: Augment, size: int, rng: np.random.Generator, erase: Erase = ERASE) -> Draw:
    """Random changes for one image or clip of `size` x `size` pixels; `erase` gives its boxes."""
    mirrored = bool(rng.random() < augment.flip)
    colour = (
        1 + augment.brightness * rng.uniform(-1, 1) if augment.brightness else 1.0,
        1 + augment.contrast * rng.uniform(-1, 1) if augment.contrast else 1.0,
        1 + augment.saturation * rng.uniform(-1, 1) if augment.saturation else 1.0,
        augment.hue * rng.uniform(-1, 1) if augment.hue else 0.0,
    )
    if augment.grayscale and rng.random() < augment.grayscale:
        colour = (*colour[:2], 0.0, 0.0)
    blurred = augment.blur and rng.random() < augment.blur
    blur = rng.uniform(*_BLUR_SIGMA) if blurred else 0.0
    noise = bool(augment.noise and rng.random() < augment.noise)
    geometry = _geometry(augment, size, mirrored, rng)
    boxed = augment.erase and rng.random() < augment.erase
    box = random_box(erase, size, size, rng) if boxed else NO_BOX
    order = tuple(rng.permutation(4).tolist()) if augment.shuffle_colour else None
    operations = ()
    if augment.rand_ops:
        operations = randaugment.draw(augment.rand_ops, *_RAND_STRENGTH, rng)
    return Draw(geometry, mirrored, colour, blur, noise, box, order, operations)


def _geometry(
    augment: Augment, size: int, mirrored: bool, rng: np.random.Generator
) -> np.ndarray | None:
    steps = []
    if augment.crop:
        steps.append(_crop_matrix(augment, augment.crop, size, rng))
    if augment.rotate or augment.scale:
        angle = augment.rotate * rng.uniform(-1, 1)
        factor = 1 + augment.scale * rng.uniform(-1, 1)
        middle = (size - 1) / 2
        steps.append(cv2.getRotationMatrix2D((middle, middle), angle, factor))
    if augment.shift:
        dx, dy = rng.integers(-augment.shift, augment.shift, 2, endpoint=True)
        steps.append(np.array([[1.0, 0.0, dx], [0.0, 1.0, dy]]))
    if mirrored:
        steps.append(np.array([[-1.0, 0.0, size - 1], [0.0, 1.0, 0.0]]))
    if not steps:
        return None
    matrix = steps[0]
    for step in steps[1:]:
        matrix = align.compose(step, matrix)
    return matrix


def _crop_matrix(
    augment: Augment, area: tuple[float, float], size: int, rng: np.random.Generator
) -> np.ndarray:
    low, high = augment.crop_ratio
    for _ in range(_TRIES):
        pixels = size * size * rng.uniform(*area)
        if augment.crop_log_ratio:
            aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            aspect = rng.uniform(low, high)
        width, height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if augment.crop_swap and rng.random() < 0.5:
            width, height = height, width
        if 0 < width <= size and 0 < height <= size:
            left = rng.integers(0, size - width, endpoint=True)
            top = rng.integers(0, size - height, endpoint=True)
            x, y = size / width, size / height
            return np.array(
                [[x, 0, x * (0.5 - left) - 0.5], [0, y, y * (0.5 - top) - 0.5]],
            )
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def decode(data: bytes, half: bool = False) -> np.ndarray | None:
    """An encoded image as BGR [H, W, 3], or None if it is broken; `half` the size if asked for."""
    if not data:
        return None
    mode = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    return cv2.imdecode(np.frombuffer(data, np.uint8), mode)


def render(
    data: bytes, base: np.ndarray | None, change: Draw, out: np.ndarray, fill: str = "black"
) -> np.ndarray | None:
    """Writes the face of an encoded image into `out` as RGB, without colour changes.

    Args:
      data: the encoded image.
      base: the alignment [2, 3]; None resizes the whole image.
      change: the random changes, of which this applies RandAugment and the geometry.
      out: uint8 [size, size, 3], contiguous.
      fill: as in `Spec`.

    Returns:
      The whole map [2, 3] from pixels of the image to pixels of `out`, mirroring included; None
      if the image is broken.
    """
    if change.operations:
        return _render_operations(data, base, change, out, fill)
    if base is not None:
        matrix = _changed(base, change)
        # Averaging blocks of pixels in the JPEG decoder saves time: it skips work.
        half = data.startswith(_JPEG) and align.shrinkage(matrix) > 1
        image = decode(data, half)
        if image is not None:
            align.warp(image, align.shrunk(matrix, 2) if half else matrix, len(out), out, fill)
    else:
        image = decode(data)
        if image is None:
            return None
        height, width = image.shape[:2]
        matrix = _changed(align.resize_matrix(height, width, len(out)), change)
        _resize(image, matrix, out, fill)
    if image is None:
        return None
    cv2.cvtColor(out, cv2.COLOR_BGR2RGB, dst=out)
    return matrix


def _render_operations(
    data: bytes, base: np.ndarray | None, change: Draw, out: np.ndarray, fill: str
) -> np.ndarray | None:
    """`render` with RandAugment between the resizing and the geometry."""
    matrix = render(data, base, UNCHANGED, out, fill)
    if matrix is None:
        return None
    for operation in change.operations:
        randaugment.apply(out, operation)
        matrix = align.compose(randaugment.matrix(operation, *out.shape[:2]), matrix)
    if change.geometry is not None:
        _resize(out.copy(), change.geometry, out, fill)
        matrix = align.compose(change.geometry, matrix)
    return matrix


def _changed(base: np.ndarray, change: Draw) -> np.ndarray:
    return base if change.geometry is None else align.compose(change.geometry, base)


def _resize(image: np.ndarray, matrix: np.ndarray, out: np.ndarray, fill: str) -> None:
    last = len(out) - 1
    as_it_is = fill == "black" and image.shape == out.shape  # others look for bars in the picture
    if as_it_is and matrix.tolist() == [[1, 0, 0], [0, 1, 0]]:
        np.copyto(out, image)
    elif as_it_is and matrix.tolist() == [[-1, 0, last], [0, 1, 0]]:
        cv2.flip(image, 1, dst=out)
    else:
        align.warp(image, matrix, len(out), out, fill)


def recolour(image: np.ndarray, change: Draw, rng: np.random.Generator) -> None:
    """Applies the colour changes, blur and noise of a draw to an RGB image, in place."""
    if change.order is None:
        _recolour(image, *change.colour)
    else:
        colours.jitter(image, change.colour, change.order)
    if change.blur:
        border = cv2.BORDER_REFLECT_101
        cv2.GaussianBlur(
            image,
            _BLUR_KERNEL,
            change.blur,
            dst=image,
            sigmaY=change.blur,
            borderType=border,
        )
    if change.noise:
        noise = _NOISE_STD * rng.standard_normal(image.shape, np.float32)
        np.copyto(image, np.clip(image + noise, 0, 255), casting="unsafe")


def _recolour(
    image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> None:
    """The four changes of colour in this order, the first two at once."""
    if brightness != 1 or contrast != 1:
        gray = colours.gray_mean(image)
        values = np.clip(np.arange(256) * brightness, 0, 255)
        colours.look_up(image, values * contrast + (1 - contrast) * brightness * gray)
    if saturation != 1:
        colours.saturation(image, saturation)
    if hue:
        colours.hue(image, hue)


def erased_box(
    erase: Erase, height: int, width: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """With probability `erase.p` a random box (top, left, height, width), else an empty one."""
    return random_box(erase, height, width, rng) if rng.random() < erase.p else NO_BOX


def random_box(
    erase: Erase, height: int, width: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box (top, left, height, width), empty if none of ten fits."""
    low, high = (math.log(r) for r in erase.ratio)
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*erase.area)
        aspect = math.exp(rng.uniform(low, high))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = (
                rng.integers(0, height - h, endpoint=True),
                rng.integers(0, width - w, endpoint=True),
            )
            return int(top), int(left), h, w
    return NO_BOX


def erase_box(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    erase: Erase,
    rng: np.random.Generator | None = None,
) -> None:
    """Fills a box of an image [H, W, 3], in place; noise needs the generator."""
    top, left, height, width = box
    if height and width and erase.noise and rng is not None:
        noise = rng.standard_normal((height, width, 3), np.float32) * _FILL_STD + FILL
        image[top : top + height, left : left + width] = np.clip(noise, 0, 255).astype(np.uint8)
    elif height and width:
        corner = (left + width - 1, top + height - 1)
        cv2.rectangle(image, (left, top), corner, FILL, cv2.FILLED)


def mirror_and_erase(
    image: np.ndarray, out: np.ndarray, erase: Erase, rng: np.random.Generator | None
) -> tuple[int, int, int, int]:
    """Writes the mirrored, randomly erased view of `image` into `out`.

    `image` itself is erased where `erase.first` asks for it. Without a generator the view is
    only mirrored.

    Returns:
      The box erased from `out`: top, left, height, width.
    """
    cv2.flip(image, 1, dst=out)
    if rng is None:
        return NO_BOX
    height, width = image.shape[:2]
    box = erased_box(erase, height, width, rng)
    erase_box(out, box, erase, rng)
    if erase.first == "shared":
        top, left, h, w = box
        erase_box(image, (top, width - left - w, h, w), erase, rng)
    elif erase.first == "independent":
        erase_box(image, erased_box(erase, height, width, rng), erase, rng)
    return box
