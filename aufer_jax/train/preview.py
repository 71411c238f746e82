"""What a run would be and need, found out in seconds: its steps are lowered, nothing is trained."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from aufer_jax import models
from aufer_jax.data import batches
from aufer_jax.datasets import catalog
from aufer_jax.models import ops, table
from aufer_jax.train import base, chips, devices, experiment, workdir
from aufer_jax.train import config as config_lib
from aufer_jax.train.run import Run

PLATFORMS = {"gpu": "cuda"}  # what JAX calls a platform -> what it lowers for

Shapes = dict[str, tuple[tuple[int, ...], str]]  # and types, by name


@dataclasses.dataclass(frozen=True)
class Preview:
    """A run as it would be; bytes are those of one device."""

    settings: dict[str, tuple[Any, Any]]  # key -> its value, and the default's, where they differ
    every: dict[str, Any]  # key -> value
    description: str
    cards: tuple[str, ...]  # datasets of which only the card is known
    inputs: Shapes  # of a training step, over all devices
    outputs: Shapes  # of an evaluation step
    parameters: int
    rows: int
    eval_rows: int
    steps_per_epoch: int
    steps: int
    devices: int
    sharing: int  # devices that share one copy of the state
    kind: str  # of the devices
    peak: float  # FLOP/s of one; 0: not known
    lowered_for: str
    step_flops: float  # over all devices; 0: cannot be counted
    row_flops: float  # of a row in evaluation
    state: int
    batch: int
    estimate: int  # of all beside state and batch, from the traced program
    compiled: int | None  # the same by XLA; None: not compiled
    compiled_for: str
    limit: int  # memory; 0: not known

    @property
    def needed(self) -> int:
        """Of memory, by XLA if it was asked."""
        return self.state + self.batch + (self.estimate if self.compiled is None else self.compiled)


@dataclasses.dataclass(frozen=True)
class Wish:
    """For which devices a run is looked at."""

    # Of how many; default: those of this machine.
    devices: int = 0
    # GB of each; default: what they say, or what is known of them.
    memory: float = 0.0
    # Compile the step, too: slow for large networks, which are lowered only otherwise.
    compile: bool = False
    # A TPU slice such as v5e:2x4, which need not be there, to compile for; needs the extra `tpu`.
    slice: str = ""


def look(config: Any, wish: Wish) -> Preview:
    """Builds the run on blank records and lowers its steps.

    What a card does not say of a dataset that is not prepared is assumed.
    """
    with catalog.assuming():
        run = config_lib.check(config)
        made = experiment.assemble(run, base.build(run), _devices(run, wish))
        part = made.task.evaluation("validation")
        evaluated, _ = batches.assemble([batches.Row(part, 0, None)], part.spec)
    on, batch = made.devices, base.shapes(made.task.example)
    traced = made.traced_step()
    again = made.traced_step(made.pure_step) if run.train.remat else traced
    made.train_step.trace(made.target, batch).lower(lowering_platforms=(_platform(on),))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(made.target.params))
    predict, variables = made.task.method.predict, (made.target.params, made.target.model_state)
    many = _rows(evaluated, run.data.eval_batch_size)
    theirs = on.members or jax.local_devices()
    chip = chips.of(theirs, run.train.compute_dtype, run.train.peak_tflops)
    everything = _flat(config.to_dict())
    defaults = _flat(_defaults(run))
    return Preview(
        settings={
            key: (value, defaults.get(key))
            for key, value in everything.items()
            if key not in defaults or defaults[key] != value
        },
        every=everything,
        description=made.task.description,
        cards=_cards(run),
        inputs=_shapes(batch),
        outputs=_shapes(jax.eval_shape(predict, *variables, many)),
        parameters=parameters,
        rows=run.data.batch_size,
        eval_rows=run.data.eval_batch_size,
        steps_per_epoch=made.task.steps_per_epoch,
        steps=made.total_steps,
        devices=on.count,
        sharing=on.sharing,
        kind=chip.kind,
        peak=chip.peak,
        lowered_for=_platform(on),
        step_flops=made.step_flops(traced),
        row_flops=_row_flops(predict, *variables, base.shapes(evaluated)),
        state=_bytes(made.target, made.sharding),
        batch=_bytes(batch) // on.count,
        estimate=_estimate(made, again),
        compiled=_compiled(made, batch, bool(wish.slice)) if wish.compile or wish.slice else None,
        compiled_for=chip.kind,
        limit=int(wish.memory * 1e9) or chip.memory,
    )


def _estimate(made: experiment.Experiment, traced: Any) -> int:
    """Of a device: its share of the rows' values, and the gradients, which each has whole.

    Where devices share the state it is its share of them, and the parameters, gathered to compute with.
    """
    params = made.target.params
    gradients = _bytes(params)
    values = max(table.live_bytes(traced) - gradients, 0) // made.devices.count
    if made.devices.sharing == 1:
        return gradients + values
    gathered = jax.eval_shape(
        functools.partial(base.cast, dtype=made.run.train.compute_dtype), params
    )
    return _bytes(params, made.sharding.params) + _bytes(gathered) + values


def _devices(run: Run, wish: Wish) -> devices.Devices:
    options = {"sync_batchnorm": run.train.sync_batchnorm, "fsdp": run.train.fsdp}
    if wish.slice:
        return devices.create("jit", devices=devices.tpu_slice(wish.slice), **options)
    platform = PLATFORMS.get(jax.default_backend(), jax.default_backend())
    return devices.abstract(platform, wish.devices or jax.device_count(), **options)


def _platform(on: devices.Devices) -> str:
    return PLATFORMS.get(on.lowered_for, on.lowered_for)


def _rows(batch: Mapping[str, Any], rows: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The same batch with so many rows."""
    return {name: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype) for name, x in batch.items()}


def _row_flops(predict: Any, *given: Any) -> float:
    with ops.traced_for("tpu"):
        traced = jax.make_jaxpr(predict)(*given).jaxpr
    try:
        return 2.0 * sum(table.products(traced))
    except ValueError:
        return 0.0


def _compiled(made: experiment.Experiment, batch: Any, whole: bool) -> int:
    """Bytes beside state and batch on a device, as XLA plans them; of this machine's first, or of a slice."""
    if whole:
        program = made.train_step.lower(made.target, batch)
    else:
        one = devices.create("jit", devices=jax.local_devices()[:1])
        share = _rows(batch, made.run.data.batch_size // made.devices.count)
        remat = bool(made.run.train.remat)
        compiled = one.compile_train(made.pure_step, made.target, made.seed, remat=remat)
        program = compiled.lower(made.target, share)
    stats = program.compile().memory_analysis()
    return 0 if stats is None else stats.temp_size_in_bytes


def _cards(run: Run) -> tuple[str, ...]:
    names = (run.data.target, *run.data.aux)
    prepared = functools.partial(catalog.prepared, data_dir=run.data.dir)
    return tuple(name for name in names if not (catalog.is_drawn(name) or prepared(name)))


def _defaults(run: Run) -> dict[str, Any]:
    values = config_lib.default(run.method).to_dict()
    if run.model["name"] in models.names():
        values["model"] = config_lib.model(run.model["name"]).to_dict()
        values["model"]["name"] = ""
    return values


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted key; a list and a tuple of the same values are the same."""
    flat = workdir.flatten(values)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in flat.items()}


def _shapes(tree: Mapping[str, Any]) -> Shapes:
    """Of a batch's or an output's arrays; what an output nests is named by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(dict(tree))
    return {
        ".".join(str(getattr(part, "key", part)) for part in path): (x.shape, str(x.dtype))
        for path, x in leaves
    }


def _bytes(tree: Any, shardings: Any = None) -> int:
    """Of all arrays, or of what a device has of them."""
    if shardings is not None:
        tree = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(where.shard_shape(x.shape), x.dtype),
            tree,
            shardings,
        )
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


# --- In words -----------------------------------------------------------------------------------


def text(found: Preview, *, every: bool = False) -> str:
    """What the command prints; `every`: all keys of the configuration, not only those that differ."""
    parts = [
        _table("configuration" + ("" if every else ", where it differs"), _settings(found, every)),
        found.description,
        *_assumed(found),
        _table("a training step reads", _named(found.inputs)),
        _table("an evaluation step gives", _named(found.outputs)),
        _table("size", _size(found)),
        _table(f"memory of a device ({found.kind})", _memory(found)),
        _verdict(found),
    ]
    return "\n\n".join(parts)


def _table(title: str, rows: Mapping[str, str]) -> str:
    width = max(map(len, rows), default=0)
    return "\n".join([f"{title}:", *(f"  {name:{width}}  {value}" for name, value in rows.items())])


def _settings(found: Preview, every: bool) -> dict[str, str]:
    if every:
        return {key: f"{value!r}" for key, value in found.every.items() if key != "note"}
    return {
        key: f"{value!r}" + ("" if default in (None, "") else f"  (default {default!r})")
        for key, (value, default) in found.settings.items()
        if key != "note"
    }


def _assumed(found: Preview) -> list[str]:
    if not found.cards:
        return []
    names = ", ".join(found.cards)
    return [
        f"assumed: {names} not prepared here. Classes and numbers of records are those that the authors "
        "publish, where they do; AUs, landmarks and what is held out for validation are not known."
    ]


def _named(shapes: Shapes) -> dict[str, str]:
    return {name: f"{kind} {list(shape)}" for name, (shape, kind) in shapes.items()}


def _size(found: Preview) -> dict[str, str]:
    rows = {
        "parameters": f"{found.parameters:,}",
        "rows a step": _rows_said(found),
        "steps": f"{found.steps:,}, {found.steps_per_epoch:,} an epoch",
    }
    if found.step_flops:
        rows["a training step"] = (
            f"{_gflop(found.step_flops)}, {_gflop(found.step_flops / found.rows)} a row"
        )
    if found.step_flops and found.peak:
        least = found.step_flops / found.devices / found.peak
        rows["it takes"] = f"{1e3 * least:.3g} ms at least, if {found.kind} was always at its peak"
    if found.row_flops:
        rows["a prediction"] = _gflop(found.row_flops)
    rows["lowered for"] = found.lowered_for
    if found.step_flops:
        rows["counted"] = "two for each multiply-add of convolutions and matrix products, traced"
    return rows


def _rows_said(found: Preview) -> str:
    if found.devices == 1:
        return f"{found.rows}, on one device"
    return f"{found.rows}, {found.rows // found.devices} on each of {found.devices} devices"


def _gflop(count: float) -> str:
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e12 else f"{count / 1e9:.3g} GFLOP"


def _memory(found: Preview) -> dict[str, str]:
    shared = f", shared by {found.sharing} devices" if found.sharing > 1 else ""
    rows = {"state": f"{_gb(found.state)}  (exact: parameters, optimizer, statistics{shared})"}
    rows["batch"] = f"{_gb(found.batch)}  (exact; data.ahead more wait)"
    if found.compiled is not None:
        what = f"XLA's plan for {found.compiled_for}"
        rows["all else"] = f"{_gb(found.compiled)}  ({what}: activations, gradients)"
    else:
        how = "estimated from the traced step; --compile asks XLA"
        rows["all else"] = f"{_gb(found.estimate)}  ({how})"
    rows["together"] = _gb(found.needed)
    return rows


def _verdict(found: Preview) -> str:
    if not found.limit:
        return "How much memory a device has is not known: --memory GB says it."
    if found.needed <= found.limit:
        return f"This fits into {_gb(found.limit)}."
    rest = found.limit - found.state
    each = (found.needed - found.state) / max(found.rows // found.devices, 1)
    fitting = int(rest / each) if each else 0
    if fitting < 1:
        said = f"This does not fit into {_gb(found.limit)}, nor does a single row on each device."
        if found.sharing < found.devices:
            said += f" train.fsdp={found.devices} spreads the state over the devices."
        return said
    return (
        f"This does not fit into {_gb(found.limit)}: about {fitting} rows would on each device. "
        f"train.accumulate={-(-found.rows // found.devices // fitting)} or more works through the rows in "
        "parts; train.compute_dtype=bfloat16 takes about half, and train.remat=blocks keeps less of each row."
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"
