"""What `aufer predict` does: predictions into a table, drawings and a few lines for a terminal."""

import collections
import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import tqdm

from aufer_jax.errors import UserError
from aufer_jax.runs import pictures, prediction
from aufer_jax.runs.drawing import Drawings
from aufer_jax.runs.prediction import Network, Options
from aufer_jax.runs.table import Columns, Writer

_SHOWN = 20  # files that are listed
_COUNTS = ("frames", "empty", "faces")
_ACTIVE = 0.5  # probability of an AU that is listed


@dataclasses.dataclass
class _Told:
    """What is said of one file."""

    frames: int = 0
    empty: int = 0
    faces: int = 0
    first: str = ""  # of its faces in the first frame
    labels: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def __str__(self) -> str:
        if self.frames == 1:
            return self.first
        shares = [
            f"{label} {n / self.labels.total():.0%}" for label, n in self.labels.most_common(3)
        ]
        return (
            f"{self.frames} frames, {self.empty} without a face: {', '.join(shares) or 'no labels'}"
        )


def check(paths: Sequence[str], out: str, columns: str) -> None:
    """Raises where a table cannot be written, or a path is no picture's; quick, unlike loading a run."""
    for path in paths:
        if any((pathlib.Path(path) / name).is_file() for name in ("config.json", "card.json")):
            raise UserError(f"predict: {path} is a trained network; name it with --model {path}")
    if out:
        Writer(out, columns)


def write(
    network: Network,
    given: Sequence[str],
    *,
    out: str = "",
    draw: str = "",
    columns: str = "aufer",
    options: Options | None = None,
) -> None:
    """Predicts what is given, writes the table and the drawings that are asked for, and prints a summary.

    A file that cannot be read is named in a line, and the others are predicted.
    """
    files: dict[str, _Told] = {}

    def say(line: str) -> None:
        tqdm.tqdm.write(line, file=sys.stderr)

    with contextlib.ExitStack() as opened:
        bars = [*network.expressions, *(f"AU{au:02d}" for au in network.aus)]
        found = pictures.items(given, say)
        one = len(found) == 1
        table = opened.enter_context(Writer(out, columns, one_file=one)) if out else None
        drawings = opened.enter_context(Drawings(draw, bars)) if draw and found else None
        total = pictures.count(found)
        bar = opened.enter_context(
            tqdm.tqdm(
                total=total, desc="predict", unit="", leave=False, mininterval=1, disable=None
            )
        )
        parts = prediction.stream(
            network, found, say, options or Options(), images=drawings is not None
        )
        with _ended_by_hand(found):
            for seen, part in parts:
                if table is not None:
                    table.add(part)
                if drawings is not None:
                    drawings.add(seen, part)
                _tell(files, part, network)
                bar.update(len(seen))
    if not files:
        raise UserError("predict: nothing could be read")
    print(_summary(files, out, draw))


@contextlib.contextmanager
def _ended_by_hand(found: Sequence[pictures.Item]) -> Iterator[None]:
    """CTRL-C is how a camera ends; what was predicted until then is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if not any(pictures.is_camera(name) for name, _ in found):
            raise


def _tell(files: dict[str, _Told], part: Columns, network: Network) -> None:
    last = None
    for i, (file, frame, face) in enumerate(
        zip(part["file"].tolist(), part["frame"].tolist(), part["face"].tolist(), strict=True)
    ):
        told = files.setdefault(file, _Told())
        told.frames += (file, frame) != last
        last = file, frame
        told.empty += face < 0
        told.faces += face >= 0
        label = str(part["label"][i]) if "label" in part else ""
        if label:
            told.labels[label] += 1
        if told.frames == 1 and len(files) <= _SHOWN:
            told.first += ("; " if told.first else "") + _line(part, i, network)


def _line(part: Columns, row: int, network: Network) -> str:
    if part["face"][row] < 0:
        return "no face"
    label = str(part["label"][row]) if "label" in part else ""
    names = [f"AU{au:02d}" for au in network.aus]
    active = sorted((n for n in names if part[n][row] >= _ACTIVE), key=lambda n: -part[n][row])
    words = [f"{label} {part[label][row]:.2f}"] if label else []
    return (
        ", ".join([*words, *(f"{name} {part[name][row]:.2f}" for name in active[:5])]) or "a face"
    )


def _summary(files: dict[str, _Told], out: str, draw: str) -> str:
    lines = []
    if not out:
        lines = [f"{name}: {told}" for name, told in list(files.items())[:_SHOWN]]
        lines += [f"... and {len(files) - _SHOWN} more files"] * (len(files) > _SHOWN)
    frames, empty, faces = (sum(getattr(t, n) for t in files.values()) for n in _COUNTS)
    lines.append(
        f"{len(files)} files, {frames} pictures and frames, {empty} of them without a face; {faces} faces."
    )
    lines += [f"Written: {path}" for path in (out, draw) if path]
    if not out:
        lines.append("Next: --out table.csv keeps every row, --draw DIR shows them.")
    elif not draw:
        lines.append(f"Next: look at {out}, or draw what was found: --draw DIR.")
    else:
        lines.append(f"Next: look at {draw}, then at {out}.")
    return "\n".join(lines)
