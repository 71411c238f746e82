"""From a checked configuration to a task: model, data, views; shared by all methods."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import facs, models
from aufer_jax.data import loader, mixture, records
from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.data.sampling import Sampling
from aufer_jax.data.views import Spec
from aufer_jax.datasets import assumed, catalog, judge
from aufer_jax.errors import UserError
from aufer_jax.models.registry import Preprocess
from aufer_jax.train import aux_labels, base, schedules
from aufer_jax.train.base import Batch, Inference, Labels, Method, Task, Variables
from aufer_jax.train.run import Data, Run

GEOMETRY = ("landmarks", "blendshapes", "mesh_features")


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a method's functions need beside the parameters."""

    model: nn.Module
    preprocess: Preprocess
    dtype: jax.typing.DTypeLike
    spec: Spec  # of training rows
    expressions: tuple[str, ...]
    period: int = 1  # rows after which target and auxiliary rows repeat their pattern
    class_counts: tuple[int, ...] = ()  # training records of each class, where a loss asks for them


def parts(
    run: Run,
    *,
    field: str,
    views: tuple[str, ...],
    labelled: bool = True,
    au_head: bool = True,
    labels: Labels | None = None,
) -> Parts:
    """Model and views for the target dataset's classes and the configured AUs.

    `labelled`: the method learns expressions, so the target must have some. Without `au_head` the
    model has no AU head. `labels` are the datasets', asked for in the catalog if they are not given.
    """
    teachers = run.data.aux if labels is None else ()
    labels = labels or labels_of(run)
    if labels.kind != ("clip" if field == "clip" else "image"):
        raise UserError(
            f"data.target: {run.data.target!r} holds {labels.kind}s, method {run.method!r} "
            f"takes {field}s"
        )
    if labelled and not labels.expressions:
        raise UserError(f"data.target: {run.data.target!r} has no expression labels to learn")
    for name in teachers:
        kind = catalog.info(name, run.data.dir).kind
        if kind == records.CLIP and field != "clip":
            raise UserError(f"data.aux: {name!r} holds {kind}s, not {labels.kind}s")
    model = create_model(
        run.model,
        num_classes=len(labels.expressions),
        aus=labels.aus if au_head else (),
        neutral=labels.expressions.index("neutral") if "neutral" in labels.expressions else None,
    )
    spec = Spec(
        size=run.data.size,
        aus=labels.aus,
        au_threshold=run.data.au_threshold,
        expressions=labels.expressions,
        labels=run.data.labels,
        views=views,
        augment=run.augment,
        erase=run.erase,
        heatmap=run.heatmap.spec(HeatmapSpec().size),
        align=run.data.align or None,
        fill=run.data.fill,
        clip=sampling(run.data) if field == "clip" else None,
        au_frames=run.data.au_frames,
        au_labels=run.data.au_labels,
    )
    return Parts(
        model=model,
        preprocess=models.architecture(run.model["name"]).preprocess,
        dtype=jnp.dtype(run.train.compute_dtype),
        spec=spec,
        expressions=labels.expressions,
        period=run.data.period,
    )


def labels_of(run: Run) -> Labels:
    """What the catalog says of a run's datasets."""
    info = catalog.info(run.data.target, run.data.dir)
    return Labels(info.kind, info.expressions, au_order(run.data))


def inference(run: Run, parts: Parts, method: Method, evaluation: Spec | None = None) -> Inference:
    """What of a method is applied to pixels; `evaluation` as in `task`."""
    spec = dataclasses.replace(evaluation or parts.spec, train=False)
    return Inference(
        predict=method.predict,
        spec=spec,
        evaluation=functools.partial(evaluation_part, run, spec),
        evaluation_splits=functools.partial(evaluation_splits, run),
        model=parts.model,
        preprocess=parts.preprocess,
    )


def sampling(data: Data) -> Sampling:
    """How the frames of a clip are chosen."""
    return Sampling(data.frames, data.sampling, data.frame_step, data.test_clips)


def output_shapes(parts: Parts) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what the model gives for one image or clip."""
    frames = (parts.spec.clip.frames,) if parts.spec.clip else ()
    image = jnp.zeros((1, *frames, parts.spec.size, parts.spec.size, 3))
    key = jax.eval_shape(lambda: {"params": jax.random.key(0), "dropout": jax.random.key(0)})
    return jax.eval_shape(parts.model.init_with_output, key, image)[0]


def method(parts: Parts, field: str, loss: Callable[..., Any]) -> Method:
    """The method with this loss, whose model reads `field` of the batch and nothing else to predict."""
    return Method(
        init=functools.partial(base.init, parts.model, field),
        loss=functools.partial(loss, parts=parts),
        predict=functools.partial(predict, parts=parts, field=field),
    )


def predict(
    params: Variables, model_state: Variables, batch: Batch, *, parts: Parts, field: str
) -> dict[str, jax.Array]:
    """The model's outputs, or their mean over the clips of a record."""
    x = base.normalise(batch[field], parts.preprocess)
    frames = parts.spec.clip.frames if parts.spec.clip else x.shape[1]
    views = x.shape[1] // frames
    if views > 1:
        x = x.reshape(-1, frames, *x.shape[2:])
    given = geometry(parts.model, batch)
    outputs = base.forward(parts.model, params, model_state, x, dtype=parts.dtype, **given)[0]
    return base.average_views(outputs, views) if views > 1 else outputs


def geometry(model: nn.Module, batch: Batch) -> dict[str, jax.Array]:
    """What a model reads of a face beside its pixels: what a face mesh knows of it, or nothing."""
    if not getattr(model, "geometry", False):
        return {}
    return {name: batch[name] for name in GEOMETRY if name in batch}


def create_model(
    options: Mapping[str, Any],
    *,
    num_classes: int,
    aus: tuple[int, ...],
    neutral: int | None = None,
) -> nn.Module:
    """The named model with heads for these classes and AUs; other options as configured.

    `neutral` is the class of neutral faces, for models that ask which it is.
    """
    options = dict(options)
    name = options.pop("name")
    fields = models.options(name)
    heads: dict[str, Any] = {"num_classes": num_classes} if "num_classes" in fields else {}
    if "aus" in fields:
        heads["aus"] = aus
    elif "num_aus" in fields:
        heads["num_aus"] = len(aus)
    if "neutral" in fields:
        heads["neutral"] = neutral
    return models.create(name, **{**heads, **options})


@dataclasses.dataclass(frozen=True)
class First:
    """The first records of a source."""

    whole: records.Source
    count: int

    @property
    def info(self) -> records.DatasetInfo:
        """That of the whole."""
        return self.whole.info

    def __len__(self) -> int:
        return min(self.count, len(self.whole))

    def __getitem__(self, index: int) -> records.Record:
        return self.whole[range(len(self))[index]]


def source(run: Run, name: str, split: str, records_of: str = "") -> records.Source:
    """The records of a split; synthetic sets are prepared on first use.

    `records_of` says which records of the dataset make up the split, where its name does not: "a+b".
    """
    splits = catalog.info(name, run.data.dir).splits
    drawn = catalog.is_drawn(name)
    sizes = {part: size for part, size in run.data.sizes.items() if part in splits}
    rows = catalog.source(
        name, records_of or split, data_dir=run.data.dir, sizes=sizes if drawn else None
    )
    if not drawn and split in run.data.sizes:
        return First(rows, run.data.sizes[split])
    return rows


def target_splits(run: Run) -> dict[str, str]:
    """Which records make up the target's splits in this run: of its fold, and of its protocol.

    Where the epochs are validated on the test split nothing is held out for validation.
    """
    data, info = run.data, catalog.info(run.data.target, run.data.dir)
    splits = {name: name for name in info.splits}
    if data.fold:
        splits = dict(catalog.fold_splits(info, data.fold))
    elif "train" not in splits:
        raise UserError(
            f"data.fold: 0, but {data.target!r} has no 'train' split, only {', '.join(splits)}; "
            "choose one of its folds, from 1 on"
        )
    if run.train.validation_split == "test":
        if "test" not in splits:
            raise UserError(
                f"train.validation_split: 'test', but {data.target!r} has only {', '.join(splits)}"
            )
        if "validation" in splits:
            splits["train"] += f"+{splits['validation']}"
        splits["validation"] = splits["test"]
    elif "validation" not in splits:
        raise UserError(
            f"train.validation_split: 'validation', but {data.target!r} has only "
            f"{', '.join(splits)}; prepare it with records held out, or choose 'test'"
        )
    return splits


def evaluation_splits(run: Run) -> tuple[str, ...]:
    """The target's splits that are reported in the end."""
    return tuple(split for split in target_splits(run) if split not in ("train", "validation"))


def evaluation_part(run: Run, spec: Spec, split: str) -> mixture.Part:
    """The records of one of the target's splits, as evaluation reads them."""
    held = target_splits(run).get(split, split)
    return mixture.Part(source(run, run.data.target, split, held), spec)


def target_part(run: Run, parts: Parts) -> mixture.Part:
    """The target's training records, as they are mixed into a batch."""
    data = run.data
    rows = source(run, data.target, "train", target_splits(run)["train"])
    if data.target_rows:
        rows = First(rows, data.target_rows)
    return mixture.Part(
        rows,
        parts.spec,
        balanced=data.balanced,
        aus=data.target_aus,
    )


def aux_parts(run: Run, parts: Parts) -> list[mixture.Part]:
    """The auxiliary datasets' training records, likewise."""
    return [
        mixture.Part(aux_source(run, name), parts.spec, expressions=run.data.aux_expressions)
        for name in run.data.aux
    ]


def aux_source(run: Run, name: str) -> records.Source:
    """The training records of an auxiliary dataset; one without expressions has those of the run's table."""
    rows, table = source(run, name, "train"), run.data.aux_labels
    if not run.data.aux_expressions or rows.info.expressions or isinstance(rows, assumed.Blank):
        return rows
    if not table:
        raise UserError(
            f"data.aux_expressions: True, but {name!r} has no expression labels; data.aux_labels names a "
            "table of them"
        )
    return aux_labels.labelled(rows, table)


def au_order(data: Data) -> tuple[int, ...]:
    """The AUs of a batch and of the AU head; "aux": all that an auxiliary dataset annotates; "none"."""
    if data.aus == "none":
        return ()
    if data.aus != "aux":
        return facs.au_order(data.aus)
    found = {au for name in data.aux for au in catalog.info(name, data.dir).aus}
    if not found:
        raise UserError("data.aus: 'aux' needs data.aux to name datasets with AUs")
    return tuple(sorted(found))


def rate(run: Run, steps_per_epoch: int, ahead: int = 0, **changes: float) -> schedules.Rate:
    """The configured learning rate by step, of a schedule with these `changes`, some units early."""
    return schedules.create(
        dataclasses.replace(run.schedule, **changes),
        lr=run.optimizer.lr,
        epochs=run.train.epochs,
        steps_per_epoch=steps_per_epoch,
        ahead=ahead,
    )


def task(run: Run, parts: Parts, method: Method, evaluation: Spec | None = None) -> Task:
    """Opens (and prepares, where that needs nothing from the user) the data of a run.

    `evaluation` is what its batches hold there, where that is not what they hold in training.
    """
    data = run.data
    evaluated = dataclasses.replace(evaluation or parts.spec, train=False)
    train = target = target_part(run, parts)
    if data.aux:
        train = mixture.Mixed(target, aux_parts(run, parts), data.ratio)
    count, target_rows = len(target.source), data.target_batch_size
    if target_rows > count:
        raise UserError(
            f"data.batch_size: {target_rows} target rows a step, but {data.target!r} has only "
            f"{count} training records"
        )
    batch = next(loader.train_batches(train, batch_size=data.batch_size, seed=0, threads=0))
    what = f"{run.method} ({run.model['name']}) on {data.target}, {count} training records"
    taught = "expressions and AUs" if data.aux_expressions else "AUs"
    what += f", {taught} from {', '.join(data.aux)}" if data.aux else ""
    if data.fold:
        what += f", fold {data.fold}"
    if run.train.validation_split == "test":
        what += "; the best epoch is chosen ON THE TEST SPLIT, as published: its result is biased"
    if catalog.is_drawn(data.target):
        what += "; synthetic faces: name a prepared dataset for real ones"
    if run.note:
        what += ("\n  " if "\n" in run.note else "; ") + run.note.replace("\n", "\n  ")
    for split in (
        "validation",
        *evaluation_splits(run),
    ):  # a missing one shows now, not after training
        evaluation_part(run, evaluated, split)
    said = judge.of_run(data.target, data.dir, target_splits(run))
    what += "".join(f"\n  {line}" for line in said)
    return Task(
        method=method,
        description=what,
        train=train,
        evaluation=functools.partial(evaluation_part, run, evaluated),
        evaluation_splits=evaluation_splits(run),
        expressions=parts.expressions,
        aus=parts.spec.aus,
        steps_per_epoch=count // target_rows,
        example={name: np.zeros_like(value) for name, value in batch.items()},
    )
