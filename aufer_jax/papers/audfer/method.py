"""AU-DFER: an AU loss weighted by AU-expression knowledge, on any video model with an AU head."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import errors, losses
from aufer_jax.data import batches
from aufer_jax.datasets import catalog
from aufer_jax.papers.audfer import knowledge, positive_weights, sdl, slips, terms
from aufer_jax.train import base, expression, mixing, setup
from aufer_jax.train.base import Batch, Sums, Variables
from aufer_jax.train.run import Run

POSITIVE_WEIGHTS = ("data", "published", "released")
MIX_AUS = ("mixed", "released")
KNOWLEDGE_SCALE = 5.0  # of eq. 9


@dataclasses.dataclass(frozen=True)
class Options(terms.Options, sdl.Options, expression.Options):
    """The section `loss` of AU-DFER's configuration."""

    au: str = "global"  # positive weights: none, global, distinct or minor
    au_weight: float = 0.25  # lambda of eq. 10; at 0 there is no AU head either
    # Where these come from: counted in the training "data"; the "published" constants for DFEW and
    # FERV39k; the same with the slips of the code, "released".
    positive_weights: str = "data"
    positive_cap: float = 0.0  # what no positive weight exceeds; 0: they are as counted
    # A knowledge.csv of your own; empty: the published one; "synth_clips": that of the drawn clips;
    # "uniform": none, each AU weighs the same.
    knowledge: str = ""
    shift: str = "midrange"  # of the knowledge before its sigmoid; or "half_range", or a number
    label_smoothing: float = 0.1
    # AUs of a mixed row: "mixed" as its pixels are, with their weights; "released": the row's own AUs,
    # weighted as the expression with the larger share says.
    mix_aus: str = "mixed"
    slips: tuple[str, ...] = ()  # which of the published code's to reproduce, see `slips.SLIPS`

    def __post_init__(self):
        terms.Options.__post_init__(self)
        sdl.Options.__post_init__(self)
        expression.Options.__post_init__(self)
        slips.check(self.slips)
        for key, permitted in (
            ("au", positive_weights.STRATEGIES),
            ("positive_weights", POSITIVE_WEIGHTS),
            ("mix_aus", MIX_AUS),
        ):
            if getattr(self, key) not in permitted:
                raise errors.unknown(f"loss.{key}", getattr(self, key), permitted)
        self.shift_value()
        if not (self.positive_cap == 0 or 1 <= self.positive_cap < math.inf):
            raise errors.UserError(
                f"loss.positive_cap: {self.positive_cap} must be 0, for none, or at least 1"
            )
        if not 0 <= self.au_weight <= 1:
            raise errors.UserError(f"loss.au_weight: {self.au_weight} must be from 0 to 1")

    def shift_value(self) -> str | float:
        """`shift` as a word or as a number."""
        if self.shift in knowledge.SHIFTS:
            return self.shift
        permitted = (*knowledge.SHIFTS, "a number")
        try:
            number = float(self.shift)
        except ValueError:
            raise errors.unknown("loss.shift", self.shift, permitted) from None
        if not math.isfinite(number):
            raise errors.unknown("loss.shift", self.shift, permitted)
        return number


@dataclasses.dataclass(frozen=True)
class Tables:
    """What the loss knows of expressions, row by row."""

    weight: np.ndarray  # 5 K of eq. 9, [classes, AUs]
    positive_weight: np.ndarray  # of eq. 6 to 8, [classes, AUs]
    calls_per_epoch: int = 1  # of the loss


def loss(
    params: Variables,
    model_state: Variables,
    batch: Batch,
    key: jax.Array | None,
    *,
    parts: setup.Parts,
    options: Options,
    tables: Tables,
) -> tuple[jax.Array, tuple[Variables, Sums]]:
    """(1 - lambda) * expression loss + lambda * knowledge-weighted BCE of the video's AUs (eq. 10)."""
    taught, key = expression.taught(batch, key, parts, options)
    clip = base.normalise(batch["clip"], parts.preprocess)
    x = mixing.pixels(taught.mix, clip)
    state = {name: value for name, value in model_state.items() if name != sdl.STATE}
    apply = functools.partial(
        base.forward,
        parts.model,
        params,
        state,
        key=key,
        dtype=parts.dtype,
        **setup.geometry(parts.model, batch),
    )
    outputs, new_state = apply(x)
    values = expression.loss(outputs["expression"], taught, parts, options)
    total = (1 - options.au_weight) * losses.masked_mean(values, taught.mask)
    sums = {
        "expression_loss": base.summed(values, taught.mask),
        **base.scores(outputs["expression"], batch, parts.expressions),
    }
    if options.au_weight:
        au, known = _au_loss(outputs["au"], batch, taught.mix, options, tables)
        total += options.au_weight * losses.masked_mean(au, known)
        sums["au_loss"] = base.summed(au, known)
    label = jnp.where(base.labelled(batch), batch["expression"], -1)
    mixed = taught.mix is not None and (options.ecstfl or options.sdl != "none")
    clean = apply(clip)[0] if mixed else outputs
    for name, weight, values, counted in terms.of(outputs, clean, taught, label, options):
        total += (1 - options.au_weight) * weight * losses.masked_mean(values, counted)
        sums[f"{name}_loss"] = base.summed(values, counted)
    if options.sdl != "none":
        queues = model_state[sdl.STATE]
        similar, sums["sdl_loss"], queues = _sdl_loss(
            outputs, clean, taught, label, queues, options, tables
        )
        total += similar
        new_state = {**new_state, sdl.STATE: queues}
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def _sdl_loss(
    outputs: base.Outputs,
    clean: base.Outputs,
    taught: expression.Taught,
    label: jax.Array,
    queues: sdl.Queues,
    options: Options,
    tables: Tables,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array], sdl.Queues]:
    """This share of the loss with its weight, the loss to log, and the queues after `clean` outputs."""
    epoch = queues["steps"] // tables.calls_per_epoch
    soft, known = sdl.targets(queues, outputs["features"], options)
    values, known = sdl.loss(outputs["expression"], soft), taught.mask & known
    weight = (1 - options.au_weight) * sdl.weight(epoch, options.sdl_start)
    queues = sdl.after(queues, clean, label, epoch, options)
    return weight * losses.masked_mean(values, known), base.summed(values, known), queues


def _au_loss(
    logits: jax.Array,
    batch: Batch,
    mix: mixing.Mix | None,
    options: Options,
    tables: Tables,
) -> tuple[jax.Array, jax.Array]:
    """Eq. 9 of each row and AU [B, n], and which of them count."""
    known = batch["au_known"] & base.labelled(batch)[:, None]
    row, au = jnp.maximum(batch["expression"], 0), batch["au"]
    if mix is not None and options.mix_aus == "released":
        row, mix = jnp.where(mix.kept >= 0.5, row, mixing.partner(row, mix.period)), None
    weight = mixing.labels(mix, jnp.asarray(tables.weight, jnp.float32)[row])
    positive = mixing.labels(mix, jnp.asarray(tables.positive_weight, jnp.float32)[row])
    au, known = mixing.labels(mix, au), mixing.known(mix, known)
    value = losses.au_cross_entropy(logits, au, known, pos_weight=positive, weight=weight)
    return value, known


def parts_of(run: Run[Options], labels: base.Labels | None = None) -> setup.Parts:
    """What an AU-DFER run is built from; no AU head where the AU loss weighs nothing."""
    au_head = run.loss.au_weight > 0
    return setup.parts(run, field="clip", views=("original",), au_head=au_head, labels=labels)


def inference(run: Run[Options], labels: base.Labels) -> base.Inference:
    """How a finished run is applied."""
    parts = parts_of(run, labels)
    return setup.inference(
        run, parts, setup.method(parts, "clip", loss), slips.evaluation(run, parts.spec)
    )


def build(run: Run[Options]) -> base.Task:
    """The task of a checked configuration: weights from its data, slips where they are asked for."""
    options, parts = run.loss, parts_of(run)
    _check(run, parts)
    parts, tables = expression.counted(run, parts), _tables(run, parts)
    method = setup.method(parts, "clip", functools.partial(loss, options=options, tables=tables))
    if options.sdl != "none":
        method = dataclasses.replace(method, init=functools.partial(_init, parts, options))
    task = setup.task(run, parts, method, slips.evaluation(run, parts.spec))
    return dataclasses.replace(task, rate=slips.rate(run, task.steps_per_epoch))


def _init(
    parts: setup.Parts, options: Options, key: jax.Array, batch: Batch
) -> dict[str, Variables]:
    """The model's variables, and the queues of the SDL loss."""
    variables = base.init(parts.model, "clip", key, batch)
    width = setup.output_shapes(parts)["features"].shape[-1]
    queues = sdl.create(key, len(parts.expressions), width, options)
    return {**variables, sdl.STATE: queues}


def _check(run: Run[Options], parts: setup.Parts) -> None:
    options, data = run.loss, run.data
    needs = options.au_weight or options.paths or options.views
    outputs = setup.output_shapes(parts) if needs else {}
    if needs and (term := options.missing(outputs)):
        raise errors.UserError(
            f"loss.{term}: {getattr(options, term)}, but {run.model['name']!r} does not give "
            f"{terms.NEEDS[term]!r}; it must be 0 for this host"
        )
    if options.au_weight and "au" not in outputs:
        raise errors.UserError(
            f"model.name: {run.model['name']!r} has no AU head, loss.au_weight = "
            f"{options.au_weight} needs one; docs/audfer.md shows how to add one"
        )
    for name in data.aux:
        if not data.aux_expressions:
            raise errors.UserError(
                f"data.aux_expressions: False, but {name!r} teaches nothing without expressions: the "
                "AU loss is weighted by them; set it to True"
            )
        theirs = catalog.info(name, data.dir).expressions
        if not set(theirs) & set(parts.expressions):
            raise errors.UserError(
                f"data.aux: {name!r} has none of the classes {', '.join(parts.expressions)}, "
                f"it has {', '.join(theirs) or 'no expression labels'}"
            )


def _tables(run: Run[Options], parts: setup.Parts) -> Tables:
    options, names, aus = run.loss, parts.expressions, parts.spec.aus
    weight = positive_weight = np.ones((len(names), len(aus)))
    if options.au_weight:
        matrix = knowledge.for_orders(names, aus, options.shift_value(), options.knowledge)
        weight = KNOWLEDGE_SCALE * matrix
    if options.au_weight and options.au != "none":
        count = options.positive_weights == "data"
        positive_weight = (_counted_weights if count else _published_weights)(run, parts)
        positive_weight = np.minimum(positive_weight, options.positive_cap or np.inf)
    if options.sdl == "none":
        return Tables(weight, positive_weight)
    steps = len(setup.target_part(run, parts).source) // run.data.target_batch_size
    return Tables(weight, positive_weight, max(steps, 1) * run.train.accumulate)


def _counted_weights(run: Run[Options], parts: setup.Parts) -> np.ndarray:
    labels = batches.labels(setup.target_part(run, parts))
    if not labels["au_known"].any():
        raise errors.UserError(
            f"loss.au_weight: {run.loss.au_weight}, but no training record of {run.data.target!r} has "
            f"any of the AUs {', '.join(map(str, parts.spec.aus))}; label them (docs/audfer.md), or "
            "train without: au=none in the configuration's argument"
        )
    names = parts.expressions
    return positive_weights.counted(
        labels["au"],
        labels["au_known"],
        labels["expression"],
        strategy=run.loss.au,
        num_classes=len(names),
        minor=tuple(
            i for i, name in enumerate(names) if name in positive_weights.MINOR_EXPRESSIONS
        ),
    )


def _published_weights(run: Run[Options], parts: setup.Parts) -> np.ndarray:
    options = run.loss
    if run.data.target not in positive_weights.DATASETS:
        raise errors.UserError(
            f"loss.positive_weights: {options.positive_weights!r} is only for "
            f"{' and '.join(positive_weights.DATASETS)}, not for {run.data.target!r}; 'data' counts "
            "in the training split"
        )
    return positive_weights.published(
        run.data.target,
        strategy=options.au,
        expressions=parts.expressions,
        aus=parts.spec.aus,
        form="released" if options.positive_weights == "released" else "repaired",
    )
