"""How well each frame of a clip fits the clip's expression, for a trained video model.

AU-DFER keeps the frames whose score exceeds a threshold. The paper does not say how a model of clips
scores one frame; the two obvious ways are here.
"""

import dataclasses
import pathlib

import numpy as np

from aufer_jax import errors, facs
from aufer_jax.data import batches, mixture, records
from aufer_jax.data.sampling import Sampling
from aufer_jax.runs import Predictor

WAYS = ("repeat", "window")

_AT_ONCE = 16  # clips in a batch


class Host:
    """The best state of a run on clips, and how it is asked about a frame.

    `way`: "repeat" shows it a clip of that frame alone, "window" the frames around it.
    """

    def __init__(self, workdir: str | pathlib.Path, way: str):
        if way not in WAYS:
            raise errors.unknown("select", way, WAYS)
        self._predictor = Predictor.load(workdir)
        self._predictor.need_classes("host")
        spec = self._predictor.inference.spec
        if spec.clip is None:
            raise errors.UserError(
                f"host: the run in {str(workdir)!r} reads images; clips are scored"
            )
        self.name = str(workdir)
        self.way, self.sampling = way, spec.clip
        self.expressions = tuple(map(facs.expression, self._predictor.expressions))
        # One frame is drawn as evaluation draws each of a clip's.
        self._spec = dataclasses.replace(spec, clip=None, aus=())

    def scores(self, record: records.Record, expression: str) -> np.ndarray:
        """The probability [T] of an expression, one of the host's, frame by frame; NaN if broken."""
        count, label = len(record["frames"]), self.expressions.index(expression)
        shown = windows(count, self.sampling, self.way)
        scores = np.full(count, np.nan)
        for start in range(0, count, _AT_ONCE):
            times = np.arange(start, min(start + _AT_ONCE, count))
            seen, places = np.unique(shown[times], return_inverse=True)
            pixels, readable = self._draw(record, seen)
            if not readable.any():
                continue
            distance = np.abs(seen[:, None] - seen[readable])  # as evaluation mends clips
            pixels = pixels[readable][distance.argmin(1)][places.reshape(shown[times].shape)]
            chances = self._predictor(pixels)["expression_probability"][:, label]
            own = readable[np.searchsorted(seen, times)]
            scores[times] = np.where(own, chances, np.nan)
        return scores

    def _draw(self, record: records.Record, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames [N, S, S, 3] as evaluation draws them, and which can be read [N]."""
        info = records.DatasetInfo("frames", records.IMAGE, (), (), {}, "", "", "")
        faces = [
            records.complete(
                {
                    "key": record["key"],
                    "image": record["frames"][time],
                    "landmarks": record["landmarks"][time],
                    "au": (),
                    "au_known": (),
                },
                records.IMAGE,
            )
            for time in times
        ]
        part = mixture.Part(records.MemorySource(info, faces), self._spec)
        rows = [batches.Row(part, i, None) for i in range(len(faces))]
        batch, _ = batches.assemble(rows, self._spec)
        return batch["image"], batch["mask"]


def windows(length: int, sampling: Sampling, way: str) -> np.ndarray:
    """The frames [T, F] that a model is shown to score each of `length` frames.

    A window has `sampling.step` frames from one to the next; at the ends of the clip its first or last
    frame stands for those that are missing.
    """
    times = np.arange(length)[:, None]
    offsets = np.arange(sampling.frames) - sampling.frames // 2
    if way == "repeat":
        offsets = np.zeros_like(offsets)
    return np.clip(times + sampling.step * offsets, 0, length - 1)
