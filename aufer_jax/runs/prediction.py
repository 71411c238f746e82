"""From pictures and videos to a table: faces are found and cut out as the run saw them, then judged."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from aufer_jax import facs
from aufer_jax.data import loader, records
from aufer_jax.errors import UserError
from aufer_jax.faces import chain, shapes
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points
from aufer_jax.runs import pictures
from aufer_jax.runs.calibration import Calibration
from aufer_jax.runs.pictures import Item, Picture, Say
from aufer_jax.runs.table import BOX, POINTS, POSE, Columns, Table, join
from aufer_jax.runs.tracking import Smoother, Tracks
from aufer_jax.sources.files import as_text
from aufer_jax.train import base

_AT_ONCE = 16  # pictures searched together
_LIVE = 4  # of a camera's, so that little waits
_MOST_BYTES = 2**26  # of these pictures
_DECODED = 8  # pictures decoded ahead
_LONGEST = 512  # frames of a window, whatever the times say
SIDED = (12, 14)  # AUs that are told for each side too


class Network(Protocol):
    """What of a `Predictor` is used here."""

    @property
    def inference(self) -> base.Inference:
        """The network, how it predicts, and how its data are read."""
        ...

    @property
    def margin(self) -> float:
        """Around the faces that it was trained on, as of `aufer faces align`."""
        ...

    @property
    def kind(self) -> str:
        """What it reads: "image" or "clip"."""
        ...

    @property
    def size(self) -> int:
        """Height and width of what it reads, in pixels."""
        ...

    @property
    def expressions(self) -> tuple[str, ...]:
        """The classes."""
        ...

    @property
    def aus(self) -> tuple[int, ...]:
        """The AUs that it predicts."""
        ...

    @property
    def calibration(self) -> Calibration:
        """What makes probabilities and intensities of its logits."""
        ...

    def need_classes(self, what: str) -> None:
        """Raises where there are no classes."""
        ...

    def __call__(
        self,
        pixels: np.ndarray,
        landmarks: np.ndarray | None = None,
        blendshapes: np.ndarray | None = None,
        mesh_features: np.ndarray | None = None,
    ) -> dict: ...


@dataclasses.dataclass(frozen=True)
class Options:
    """How faces are found and cut out.

    Attributes:
      margin: of the crops, as of `aufer faces align`, in place of that of the run's own data; only for runs
        that do not align faces themselves.
      window: seconds of a video that a clip network judges at once.
      smooth: seconds over which a face's predictions are averaged in a video; 0: not at all.
      neutral: pictures of the person at rest, as `predict` takes them: AUs are then told against these.
      detector: finds the faces.
    """

    margin: float | None = None
    window: float = 2.0
    smooth: float = 0.0
    neutral: Any = None
    detector: chain.MeshDetector = dataclasses.field(default_factory=chain.MeshDetector)

    def __post_init__(self):
        if not self.window > 0:
            raise UserError(f"window: got {self.window}, it must be above 0 seconds")
        if not 0 <= self.smooth < math.inf:
            raise UserError(f"smooth: got {self.smooth}, it must be seconds, 0 for none")


@dataclasses.dataclass(frozen=True)
class Face:
    """A face, cut out as the network reads it."""

    number: int
    reading: chain.Reading
    crop: np.ndarray  # [size, size, 3]
    landmarks: np.ndarray  # [68, 2] in the crop


@dataclasses.dataclass(frozen=True)
class Seen:
    """A picture and its faces."""

    file: str
    frame: int
    time: float
    faces: list[Face]
    image: np.ndarray | None  # where it is wanted
    size: tuple[int, int] = (0, 0)  # width, height


Outputs = dict[str, np.ndarray]
Part = tuple[list[Seen], Columns]  # some pictures, and the table's rows of them


def predict(network: Network, given: Any, options: Options) -> Table:
    """The table of all pictures; files that cannot be read are its `problems`."""
    problems: list[str] = []
    found = pictures.items(given, problems.append)
    parts = [columns for _, columns in stream(network, found, problems.append, options)]
    if not parts:
        raise UserError(f"predict: nothing can be read; {'; '.join(problems) or 'nothing given'}")
    return Table(join(parts), problems)


def stream(
    network: Network, found: Iterable[Item], say: Say, options: Options, *, images: bool = False
) -> Iterator[Part]:
    """The table in parts, as soon as they are known; with `images` the pictures are kept in them.

    Decoding, finding and predicting run side by side, and what waits between them is bounded.
    """
    if not network.aus:
        network.need_classes("predict")
    if options.margin and network.inference.spec.align is not None:
        raise UserError(
            f"margin: got {options.margin}, but the run aligns its faces itself, without a margin"
        )
    rest, smooth = _rest(network, options, say), _smoothed(options)
    for part, outputs in _judged(network, found, say, options, images):
        yield part, _table(network, part, smooth(part, outputs), rest)


def _judged(
    network: Network, found: Iterable[Item], say: Say, options: Options, images: bool = False
) -> Iterator[tuple[list[Seen], Outputs]]:
    """Pictures, and what the network says of their faces."""
    parts = _ahead(_seen(network, found, say, options, images), 1)
    if network.kind == records.CLIP:
        for window in _windows((one for part in parts for one in part), options.window):
            yield window, _of_clips(network, window)
    else:
        for part in parts:
            yield part, _of_images(network, part)


def _ahead(made: Iterator[Any], count: int) -> Iterator[Any]:
    """The same, made in a thread, up to `count` early."""
    with loader.to_device(made, lambda one: one, count) as ready:
        yield from ready


# --- Faces --------------------------------------------------------------------------------------


def _seen(
    network: Network, found: Iterable[Item], say: Say, options: Options, images: bool
) -> Iterator[list[Seen]]:
    margin = network.margin if options.margin is None else options.margin
    target = align.template(network.size, margin)
    tracks, file = Tracks(), ""
    for part in _together(_ahead(pictures.stream(found, say), _DECODED)):
        out = []
        read = options.detector.read([picture.image for picture in part])
        for picture, readings in zip(part, read, strict=True):
            if picture.file != file or not picture.frame:
                tracks, file = Tracks(), picture.file
            cut = [_cut(picture.image, reading, target, network) for reading in readings]
            cut = [one for one in cut if one is not None]
            places = [(reading.box, reading.mesh[:, :2]) for reading, _, _ in cut]
            numbers = tracks.follow([p[0] for p in places], [p[1] for p in places], picture.time)
            faces = [Face(number, *one) for number, one in zip(numbers, cut, strict=True)]
            image = picture.image if images else None
            size = picture.image.shape[1], picture.image.shape[0]
            out.append(Seen(picture.file, picture.frame, picture.time, faces, image, size))
        yield out


def _together(stream: Iterator[Picture]) -> Iterator[list[Picture]]:
    held: list[Picture] = []
    for picture in stream:
        held.append(picture)
        most = _LIVE if pictures.is_camera(picture.file) else _AT_ONCE
        if len(held) >= most or sum(one.image.nbytes for one in held) >= _MOST_BYTES:
            yield held
            held = []
    if held:
        yield held


def _cut(
    image: np.ndarray, reading: chain.Reading, target: np.ndarray, network: Network
) -> tuple[chain.Reading, np.ndarray, np.ndarray] | None:
    """The face as `faces.crops` and the loader align it; None where its points coincide."""
    landmarks = reading.landmarks.astype(np.float64)
    matrix = align.similarity(five_points(landmarks), target)
    if not np.isfinite(matrix).all():
        return None
    crop = align.warp(image, matrix, network.size, fill=network.inference.spec.fill)
    return reading, crop, align.transform(landmarks, matrix)


# --- What the network says ----------------------------------------------------------------------

_WANTED = ("expression_probability", "au")


def _of_images(network: Network, part: Sequence[Seen]) -> Outputs:
    """The outputs of a part's faces, in order."""
    faces = [face for seen in part for face in seen.faces]
    if not faces:
        return {}
    pixels = np.stack([face.crop for face in faces])
    landmarks = np.stack([face.landmarks for face in faces])
    shapes = np.stack([face.reading.blendshapes for face in faces])
    return network(
        pixels, landmarks, shapes, np.stack([face.reading.mesh_features for face in faces])
    )


def _of_clips(network: Network, window: Sequence[Seen]) -> Outputs:
    """The same from a window of frames, of which each face's crops are one clip."""
    faces = [face.number for seen in window for face in seen.faces]
    if not faces:
        return {}
    clip = network.inference.spec.clip
    assert clip is not None
    numbers, clips, points = sorted(set(faces)), [], []
    for number in numbers:
        shown = [face for seen in window for face in seen.faces if face.number == number]
        chosen = [shown[t] for t in clip.choose(len(shown), None, window[0].file)]
        clips.append(np.stack([face.crop for face in chosen]))
        points.append(np.stack([face.landmarks for face in chosen]))
    outputs = network(np.stack(clips), np.stack(points))
    places = np.searchsorted(numbers, faces)
    return {name: outputs[name][places] for name in _WANTED if name in outputs}


def _windows(stream: Iterable[Seen], seconds: float) -> Iterator[list[Seen]]:
    """The frames of a video in parts of so many seconds; what is left at its end joins the last one.

    A picture is a part by itself.
    """
    held: list[Seen] = []
    for seen in stream:
        if held and (seen.file != held[0].file or not seen.frame):
            yield held
            held = []
        elif held and (seen.time - held[0].time >= 1.5 * seconds or len(held) >= _LONGEST):
            end = held[0].time + seconds
            cut = sum(one.time < end for one in held)
            yield held[:cut]
            held = held[cut:]
        held.append(seen)
    if held:
        yield held


def _smoothed(options: Options) -> Callable[[Sequence[Seen], dict], dict[str, np.ndarray]]:
    """Averages what the table shows of a network's outputs over time, if that is wanted."""
    if not options.smooth:
        return lambda part, outputs: outputs
    smoother = Smoother(options.smooth)

    def smooth(part: Sequence[Seen], outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [(s.file, s.frame, s.time, face.number) for s in part for face in s.faces]
        return smoother(rows, {name: outputs[name] for name in _WANTED if name in outputs})

    return smooth


# --- A person at rest ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Rest:
    """What is known of a person's face at rest: what is added to the AU logits, and its blendshapes."""

    logits: Any = 0.0
    blendshapes: np.ndarray | None = None


def _rest(network: Network, options: Options, say: Say) -> Rest:
    """From the pictures of the person at rest, one face each: the surest; `say` is told of bad files."""
    if options.neutral is None:
        return Rest()
    if not network.aus:
        raise UserError("neutral: the network tells no AUs")
    logits, found, problems = [], [], []
    items = pictures.items(options.neutral, problems.append)
    for part, outputs in _judged(network, items, problems.append, options):
        place = 0
        for seen in part:
            if seen.faces:
                logits.append(outputs["au"][place])
                found.append(seen.faces[0].reading.blendshapes)
            place += len(seen.faces)
    if not found:
        raise UserError(
            f"neutral: no face is found; {'; '.join(problems) or 'look at the pictures'}"
        )
    for problem in problems:
        say(f"neutral: {problem}")
    return Rest(network.calibration.at_rest(np.array(logits)), np.median(found, 0))


# --- The table ----------------------------------------------------------------------------------


def _table(network: Network, part: Sequence[Seen], outputs: Outputs, rest: Rest) -> Columns:
    """A row for each face, and one for each picture without any."""
    rows: list[tuple[Seen, Face | None]] = [(s, f) for s in part for f in (s.faces or [None])]
    have = np.array([face is not None for _, face in rows])

    def filled(values: Any, width: int) -> np.ndarray:
        out = np.full((len(rows), width), np.nan, np.float32)
        if have.any():
            out[have] = values
        return out

    read = [face.reading for _, face in rows if face is not None]
    columns: Columns = {
        "file": np.array([as_text(seen.file) for seen, _ in rows]),
        "frame": np.array([seen.frame for seen, _ in rows], np.int64),
        "time": np.array([seen.time for seen, _ in rows]),
        "face": np.array([-1 if face is None else face.number for _, face in rows], np.int64),
    }

    def add(names: Sequence[str], values: Any) -> None:
        columns.update(zip(names, filled(values, len(names)).T, strict=True))

    boxes = np.array([reading.box for reading in read], np.float32).reshape(-1, 4)
    add(BOX, np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1))
    add(("score",), [[reading.score] for reading in read])
    if network.expressions:
        likely = outputs.get("expression_probability", np.zeros((0, len(network.expressions))))
        labels = np.full(len(rows), "", object)
        labels[have] = np.array(network.expressions, object)[likely.argmax(1)]
        columns["label"] = labels.astype(str)
        add(network.expressions, likely)
    if network.aus:
        for names, values in _aus(network, read, outputs, rest):
            add(names, values)
    add(POSE, [reading.pose for reading in read])
    points = np.array([reading.landmarks for reading in read], np.float32).reshape(-1, 68, 2)
    add(POINTS, np.swapaxes(points, 1, 2).reshape(-1, 136))
    return columns


def _aus(
    network: Network, read: Sequence[chain.Reading], outputs: Outputs, rest: Rest
) -> Iterator[tuple[list[str], Any]]:
    """The columns of the AUs: probability, intensity if the network tells it, and that of each side."""
    labels = [facs.AUS[au].label for au in network.aus]
    logits = outputs.get("au", np.zeros((0, len(labels)), np.float32)) + rest.logits
    yield labels, network.calibration.presence(logits)
    if network.calibration.intensities:
        yield [f"{label}_intensity" for label in labels], network.calibration.intensity(logits)
    found = np.array([reading.blendshapes for reading in read]).reshape(-1, len(facs.BLENDSHAPES))
    aus = [au for au in SIDED if au in network.aus]
    for side in shapes.SIDES if aus else ():
        names = [f"{facs.AUS[au].label}_{side}" for au in aus]
        yield names, shapes.intensities(found, aus, side, rest.blendshapes)
