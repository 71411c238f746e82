"""A trained network with all it needs to be applied to pixels: of a run, or of converted weights."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aufer_jax import facs, weights
from aufer_jax.data import heatmaps, loader, mixture, records
from aufer_jax.data.batches import Batch
from aufer_jax.data.sampling import Sampling
from aufer_jax.data.views import Spec
from aufer_jax.datasets import catalog
from aufer_jax.errors import UserError
from aufer_jax.geometry.landmarks import MESH_FEATURES
from aufer_jax.models.registry import Preprocess
from aufer_jax.runs import packing, prediction
from aufer_jax.runs.attention import attention_weights, natural
from aufer_jax.runs.calibration import Calibration
from aufer_jax.runs.table import Table
from aufer_jax.train import base, checkpoints, setup, workdir
from aufer_jax.train import config as config_lib
from aufer_jax.weights import shipped

Outputs = dict[str, Any]

# A batch is filled up to the next of these sizes, so a network is compiled once for each of them.
BUCKETS = {records.IMAGE: (1, 4, 16, 64), records.CLIP: (1, 4, 16)}


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network, applied to pixels or to the records of its run.

    Attributes:
      name: of the folder it comes from.
      inference: the network and how it predicts, as the run's task has them.
      labels: kind of input, classes, AUs.
      params, model_state: the parameters, and the model's other collections; in NumPy.
      run: the checked configuration; None for converted weights.
      calibration: of its logits.
      state: which state of the run it is, "best", or "latest" where none was chosen yet.
      step: of this state.
      report: what was wrong with the records read so far.
    """

    name: str
    inference: base.Inference
    labels: base.Labels
    params: Any
    model_state: Any
    run: config_lib.Run | None = None
    state: str = ""
    step: int = 0
    calibration: Calibration = dataclasses.field(default_factory=Calibration)
    report: loader.Report = dataclasses.field(default_factory=loader.Report)

    @classmethod
    def load(cls, path: str | pathlib.Path, config: ConfigDict | None = None) -> "Predictor":
        """The best state of a run by its workdir, the folder of converted weights, or "small" or "clean".

        `config` is for a run of which something that may change has changed: where its data are.
        """
        path = shipped.place(path)
        if (path / "card.json").exists():
            return _converted(path)
        run = config_lib.check(workdir.saved_config(path) if config is None else config)
        reader = packing.reader(path) or checkpoints.Reader(path)
        state = reader.usable()
        step = None if state is None else reader.latest_step(state)
        if state is None or step is None:
            raise UserError(f"workdir: {str(path)!r} holds no checkpoint; train first")
        labels = workdir.saved_labels(path) or setup.labels_of(run)
        inference = base.inference(run, labels)
        rest = reader.variables(kind=state)
        params, name = rest.pop("params"), pathlib.Path(path).name
        return cls(name, inference, labels, params, rest, run, state, step)

    # --- What it is -----------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """What it reads: "image" or "clip"."""
        return self.labels.kind

    @property
    def size(self) -> int:
        """Height and width of what it reads, in pixels."""
        return self.inference.spec.size

    @property
    def margin(self) -> float:
        """What its pictures show around the usual square of a face, as a share of it."""
        return 0.0 if self.inference.spec.align else self.labels.margin

    @property
    def frames(self) -> int | None:
        """Frames of a clip."""
        return self.inference.spec.clip.frames if self.inference.spec.clip else None

    @property
    def expressions(self) -> tuple[str, ...]:
        """The classes, if any are predicted; numbers where converted weights do not name them."""
        return self.labels.expressions if "expression" in self.shapes else ()

    @property
    def aus(self) -> tuple[int, ...]:
        """The AUs of `au`; empty if the network has no AU head, or converted weights do not name them."""
        return self.labels.aus if "au" in self.shapes else ()

    @property
    def reads_heatmap(self) -> bool:
        """Whether it predicts from a face's AU heatmap too."""
        return "heatmap" in self.inference.spec.views

    @property
    def reads_geometry(self) -> bool:
        """Whether it predicts from what a face mesh knows too: landmarks, blendshapes, features."""
        return getattr(self.inference.model, "geometry", False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The arrays of a batch that it predicts from; pre-training's masks follow from the `id`."""
        heatmap = ("heatmap", "landmarks_valid") if self.reads_heatmap else ()
        return (self.kind, "id", *heatmap, *self._geometry)

    @property
    def _geometry(self) -> tuple[str, ...]:
        """What it reads of a face's geometry; clips have no blendshapes."""
        if not self.reads_geometry:
            return ()
        return setup.GEOMETRY if self.kind == "image" else ("landmarks",)

    @functools.cached_property
    def shapes(self) -> Mapping[str, Any]:
        """The outputs' shapes for one image or clip; computes nothing."""
        frames = (self.inference.spec.clip.count(train=False),) if self.inference.spec.clip else ()
        batch = self.example(np.zeros((1, *frames, self.size, self.size, 3), np.uint8))
        return jax.eval_shape(self._predict, self.params, self.model_state, batch)

    def need_classes(self, what: str) -> None:
        """Raises where there are no classes, as in pre-training."""
        if not self.expressions:
            method = f", its method is {self.run.method!r}" if self.run else ""
            raise UserError(f"{what}: {self.name!r} has no expression classes{method}")

    # --- Pictures and videos --------------------------------------------------------------------

    def predict(self, pictures: Any, **options: Any) -> Table:
        """Faces, expressions, AUs, pose and landmarks of photographs and videos, one row a face.

        Args:
          pictures: an RGB array of one or several, a path, a folder, a pattern with *, or a list of these.
          **options: see `prediction.Options`.
        """
        return prediction.predict(self, pictures, prediction.Options(**options))

    # --- Pixels ---------------------------------------------------------------------------------

    def __call__(
        self,
        pixels: np.ndarray,
        landmarks: np.ndarray | None = None,
        blendshapes: np.ndarray | None = None,
        mesh_features: np.ndarray | None = None,
    ) -> Outputs:
        """What the network says of images or clips.

        Args:
          pixels: uint8 RGB, [B, size, size, 3] or [B, T, size, size, 3], aligned as the run's data are. A
            clip may have several times `frames`, of which the mean is taken.
          landmarks: [B, 68, 2] in these pixels, of clips [B, T, 68, 2], for networks that read them, or a
            heatmap, beside the image; without them it is that of a face whose landmarks are unknown.
          blendshapes: [B, 52], for networks that read them, likewise.
          mesh_features: [B, 512] of the mesh network, likewise.

        Returns:
          All outputs by name, in NumPy: `expression` logits with `expression_probability`, `au` logits with
          `au_probability`, `features`, and the architecture's own. Pre-training gives `losses`.
        """
        return self.apply(self.example(pixels, landmarks, blendshapes, mesh_features))

    def apply(self, batch: Batch) -> Outputs:
        """As above, for a batch as `read` gives it."""
        return self._by_bucket(self._program, batch)

    def example(
        self,
        pixels: np.ndarray,
        landmarks: np.ndarray | None = None,
        blendshapes: np.ndarray | None = None,
        mesh_features: np.ndarray | None = None,
    ) -> Batch:
        """All that it reads of images or clips; what is not given is not known, as in a call."""
        spec, pixels = self.inference.spec, np.asarray(pixels)
        kind, square = self.kind, (spec.size, spec.size, 3)
        frames = "T, " if spec.clip else ""
        wanted = f"uint8 [B, {frames}{spec.size}, {spec.size}, 3]"
        if (
            pixels.dtype != np.uint8
            or pixels.shape[-3:] != square
            or pixels.ndim != 4 + bool(frames)
        ):
            raise UserError(f"pixels: {pixels.dtype} {list(pixels.shape)}, they must be {wanted}")
        if spec.clip and pixels.shape[1] % spec.clip.frames:
            raise UserError(
                f"pixels: clips of {pixels.shape[1]} frames, they must have {spec.clip.frames} or a "
                "multiple; data.sampling.sample chooses them"
            )
        batch = {kind: pixels, "id": np.zeros(len(pixels), np.int64)}
        if landmarks is None:
            landmarks = np.full((*pixels.shape[:-3], records.LANDMARKS, 2), np.nan)
        if blendshapes is None:
            blendshapes = np.full((len(pixels), len(facs.BLENDSHAPES)), np.nan)
        if mesh_features is None:
            mesh_features = np.full((len(pixels), MESH_FEATURES), np.nan)
        told = zip(setup.GEOMETRY, (landmarks, blendshapes, mesh_features), strict=True)
        batch |= {name: np.float32(values) for name, values in told if name in self._geometry}
        if self.reads_heatmap:
            batch["landmarks_valid"] = heatmaps.drawable(landmarks)
            batch["heatmap"] = heatmaps.draw(landmarks, spec.heatmap, spec.size)[0]
        return batch

    def outputs(self, params: Any, model_state: Any, batch: base.Batch) -> Outputs:
        """What `apply` gives, of these parameters; can be traced for any number of rows."""
        return self._predict(params, model_state, batch)

    def attention(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The attention [B, heads, N, N] of every block, by its name; empty for other networks."""
        if self.reads_heatmap:  # no such network has attention
            return {}
        found = self._by_bucket(self._attention, self.example(pixels))
        return {name: found[name] for name in sorted(found, key=natural)}

    def _by_bucket(self, program: Callable[..., Any], batch: Batch) -> Any:
        """The outputs of all rows, filled up to whole buckets and cut again."""
        batch = {name: batch[name] for name in self.inputs}
        buckets, rows = BUCKETS[self.kind], len(batch["id"])
        found = []
        for start in range(0, max(rows, 1), buckets[-1]):
            count = min(rows - start, buckets[-1])
            size = next(bucket for bucket in buckets if bucket >= count)
            filled = {
                name: np.resize(values[start : start + count], (size, *values.shape[1:]))
                for name, values in batch.items()
            }
            outputs = jax.device_get(program(*self._on_device, filled))
            # An output may have several rows for each of the batch.
            found.append(jax.tree.map(lambda x, n=count, of=size: x[: len(x) // of * n], outputs))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    @functools.cached_property
    def _on_device(self) -> tuple[Any, Any]:
        return jax.device_put((self.params, self.model_state))

    def _predict(self, params: Any, model_state: Any, batch: base.Batch) -> Outputs:
        outputs = dict(self.inference.predict(params, model_state, batch))
        if "expression" in outputs:
            scaled = outputs["expression"] / self.calibration.temperature
            shifted = scaled + jnp.float32(self.calibration.shift)
            outputs["expression_probability"] = jax.nn.softmax(shifted)
        if "au" in outputs:
            slope, offset = (
                jnp.float32(x) for x in (self.calibration.slope, self.calibration.offset)
            )
            outputs["au_probability"] = jax.nn.sigmoid(slope * outputs["au"] + offset)
        return outputs

    @functools.cached_property
    def _program(self) -> Callable[..., Outputs]:
        return jax.jit(self._predict)

    @functools.cached_property
    def _attention(self) -> Callable[..., dict[str, jax.Array]]:
        model, preprocess = self.inference.model, self.inference.preprocess

        def kept(params: Any, model_state: Any, batch: base.Batch) -> dict[str, jax.Array]:
            if model is None or preprocess is None:
                return {}
            x = base.normalise(batch[self.kind], preprocess)
            x = x.reshape(-1, self.frames, *x.shape[2:]) if self.frames else x
            return attention_weights(model, {"params": params, **model_state}, x)

        return jax.jit(kept)

    # --- The run's own records ------------------------------------------------------------------

    def split(self, name: str) -> mixture.Part:
        """The records of one of the run's splits, as evaluation reads them."""
        if self.inference.evaluation is None:
            raise UserError(f"workdir: {self.name!r} are converted weights; a run has data")
        return self.inference.evaluation(name)

    def on(self, dataset: str, data_dir: str = "", split: str = "") -> "Predictor":
        """The same network on another prepared dataset, of which it reads what the run's own rows have.

        Its classes are the run's; records of others are unlabelled. `split` is one of its splits, several
        of them ("validation+test"), or empty for all.
        """
        if self.run is None:
            raise UserError(f"data: {self.name!r} are converted weights; a run has data")
        info = catalog.info(dataset, data_dir)
        if info.kind != self.kind:
            raise UserError(
                f"data: {dataset!r} holds {info.kind}s, {self.name!r} takes {self.kind}s"
            )
        chosen = split or "+".join(info.splits)

        def part(name: str) -> mixture.Part:
            return mixture.Part(catalog.source(dataset, name, data_dir), self.inference.spec)

        inference = dataclasses.replace(
            self.inference, evaluation=part, evaluation_splits=lambda: (chosen,)
        )
        return dataclasses.replace(self, inference=inference)

    def auxiliaries(self) -> dict[str, "Predictor"]:
        """The same network on each dataset that taught the run through AUs.

        A split that one of them does not have is its training split.
        """
        run, spec = self.run, self.inference.spec
        if run is None:
            return {}

        def part(dataset: str, split: str) -> mixture.Part:
            known = split in catalog.info(dataset, run.data.dir).splits
            return mixture.Part(setup.source(run, dataset, split if known else "train"), spec)

        return {
            name: dataclasses.replace(
                self,
                inference=dataclasses.replace(
                    self.inference, evaluation=functools.partial(part, name)
                ),
                report=loader.Report(),
            )
            for name in run.data.aux
        }

    def read(self, split: str, rows: Sequence[int] | np.ndarray | None = None) -> loader.Batches:
        """Batches of all records of a split, or of chosen ones in the order given; the last is filled up."""
        part = self.split(split)
        if rows is not None:
            part = dataclasses.replace(part, source=_Chosen(part.source, rows))
        assert self.run is not None, "only a run has splits"
        batches = loader.eval_batches(
            part,
            batch_size=min(self.run.data.eval_batch_size, len(part.source)),
            workers=self.run.data.workers if rows is None else 0,
            threads=self.run.data.threads,
        )
        batches.report = self.report
        return batches

    def collect(
        self, split: str, outputs: Sequence[str], rows: Sequence[int] | np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """`id`, `label`, `row` and the named outputs of all records of a split that can be read."""
        found, start = [], 0
        batches = self.read(split, rows)
        for batch in batches:
            given = self.apply(batch)
            keep = np.flatnonzero(batch["mask"])
            part = {"id": batch["id"], "label": batch["expression"]}
            part["row"] = start + np.arange(len(batch["mask"]))
            part |= {name: given[name] for name in outputs}
            found.append({name: values[keep] for name, values in part.items()})
            start += len(batch["mask"])
        batches.close()
        joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        return joined if rows is None else joined | {"row": np.asarray(rows)[joined["row"]]}


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Some records of a source."""

    whole: records.Source
    rows: Sequence[int] | np.ndarray

    @property
    def info(self) -> records.DatasetInfo:
        return self.whole.info

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> records.Record:
        return self.whole[int(self.rows[index])]


def _converted(folder: pathlib.Path) -> Predictor:
    """What `aufer weights convert` wrote, computed in float32."""
    model, variables, card = weights.load_converted(folder)
    read: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in card["preprocess"].items()
    }
    preprocess = Preprocess(**read)
    numbered = map(str, range(getattr(model, "num_classes", 0) or 0))
    aus = card.get("aus") or getattr(model, "aus", None) or ()
    classes, margin = tuple(card.get("expressions") or numbered), card.get("margin", 0.0)
    labels = base.Labels(card["input"], classes, tuple(aus), margin)
    clip = Sampling(preprocess.frames or 1) if card["input"] == records.CLIP else None
    spec = Spec(preprocess.size, labels.aus, expressions=labels.expressions, clip=clip, train=False)
    parts = setup.Parts(model, preprocess, jnp.float32, spec, labels.expressions)
    predict = functools.partial(setup.predict, parts=parts, field=card["input"])
    inference = base.Inference(predict, spec, model=model, preprocess=preprocess)
    params = variables.pop("params")
    calibration = Calibration.of(card)
    return Predictor(folder.name, inference, labels, params, variables, calibration=calibration)
