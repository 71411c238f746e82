"""A run's configuration: its schema, argument strings, and every check made before anything compiles."""

import ast
import contextlib
import dataclasses
import difflib
import math
import pathlib
import re
import runpy
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from aufer_jax import errors, models, synth
from aufer_jax.data import sampling, votes
from aufer_jax.data.views import AU_FRAMES, AU_LABELS, Augment, Erase
from aufer_jax.datasets import catalog
from aufer_jax.evaluate import metrics
from aufer_jax.geometry import align
from aufer_jax.models import remat, table
from aufer_jax.train import base, expression, optimizer, schedules
from aufer_jax.train.optimizer import Optimizer
from aufer_jax.train.run import TRACKERS, Data, Heatmap, Run, Train
from aufer_jax.train.schedules import Schedule

SECTIONS = {
    "data": Data,
    "augment": Augment,
    "erase": Erase,
    "heatmap": Heatmap,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "train": Train,
}
CHOICES = {
    "data.labels": votes.LABELS,
    "data.align": ("", "5pt"),
    "data.fill": align.FILLS,
    "data.sampling": sampling.RULES,
    "data.au_frames": AU_FRAMES,
    "data.au_labels": AU_LABELS,
    "optimizer.name": optimizer.NAMES,
    "schedule.name": schedules.NAMES,
    "schedule.unit": schedules.UNITS,
    "train.parallel": ("jit", "pmap"),
    "train.compute_dtype": ("float32", "bfloat16"),
    "train.best_metric": tuple(metrics.HIGHER_IS_BETTER),
    "train.remat": remat.KINDS,
    "train.validation_split": ("validation", "test"),
    "train.trackers": TRACKERS,  # each of them
}
POSITIVE = (
    "data.size",
    "data.frames",
    "data.frame_step",
    "data.test_clips",
    "data.batch_size",
    "data.eval_batch_size",
    "data.threads",
    "data.ahead",
    "optimizer.lr",
    "train.epochs",
    "train.accumulate",
    "train.fsdp",
    "train.log_every",
    "train.keep",
)
NOT_NEGATIVE = (
    "data.workers",
    "data.target_rows",
    "data.fold",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "optimizer.momentum",
    "schedule.warmup_epochs",
    "schedule.decay_epochs",
    "schedule.min_lr",
    "train.save_every",
    "train.time_limit",
    "train.patience",
    "train.peak_tflops",
)


# The least and the most of numbers, and of all numbers of a list; where the list is a range, its first
# is not above its last.
RANGES: dict[str, tuple[float, float]] = {
    "augment.shift": (0, math.inf),
    "augment.rotate": (0, 180),
    "augment.scale": (0, 0.99),
    "augment.crop": (1e-6, 1),
    "augment.crop_ratio": (1e-6, 1e6),
    "augment.brightness": (0, math.inf),
    "augment.contrast": (0, math.inf),
    "augment.saturation": (0, math.inf),
    "augment.hue": (0, 0.5),
    "data.au_threshold": (0, math.inf),
    "erase.area": (1e-6, 1),
    "erase.ratio": (1e-6, 1e6),
    "loss.alpha": (0, math.inf),
    "loss.beta": (0, math.inf),
    "optimizer.betas": (0, 0.999999999),
    "optimizer.layer_decay": (1e-6, 1),
    "optimizer.momentum": (0, 0.999999999),
    "schedule.gamma": (1e-12, math.inf),
    "schedule.milestones": (0, math.inf),
    "seed": (0, 2**32 - 1),
}
ORDERED = ("augment.crop", "augment.crop_ratio", "erase.area", "erase.ratio")


def default(method: str) -> Any:
    """The configuration every file in `configs/` starts from; `model` and `loss` depend on the method.

    >>> import aufer_jax.papers  # registers the methods
    >>> default("auvit").loss.beta
    1.0
    """
    sections = {name: dataclasses.asdict(section()) for name, section in SECTIONS.items()}
    return ConfigDict(
        {
            "method": method,
            "seed": 0,
            "model": {"name": ""},
            "loss": dataclasses.asdict(base.registered(method).options()),
            **sections,
            "resume": "",  # workdir of another run to resume from
            "init_from": "",  # published weights, or the workdir of a run, to start from
            "note": "",  # what the config chose by itself, for the run's first line
        },
    )


def model(name: str, **chosen: Any) -> ConfigDict:
    """The section `model`: an architecture and all its options, to be changed one by one.

    The heads follow the data: classes and AUs are not among them.

    >>> model("auvit_small").regions
    7
    """
    entry = models.architecture(name)
    fields = {field.name: field for field in dataclasses.fields(entry.build)}
    options = {
        key: fields[key].default
        for key in models.options(name)
        if key not in ("num_classes", "num_aus", "aus")
        and fields[key].default is not dataclasses.MISSING
    }
    return ConfigDict({"name": name, **options, **entry.options, **chosen}, convert_dict=False)


def up_to_date(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a saved configuration in today's keys: new ones at their defaults, old ones left out.

    >>> import aufer_jax.papers
    >>> saved = default("mvfer").to_dict() | {"model": model("resnet_small").to_dict(), "gone": 1}
    >>> del saved["train"]["keep"]
    >>> now = up_to_date(saved)
    >>> now["train"]["keep"], "gone" in now
    (2, False)
    """
    now = default(saved["method"]).to_dict()
    name = saved["model"]["name"]  # unknown, it is that of a task of the caller's own
    now["model"] = model(name).to_dict() if name in models.names() else dict(saved["model"])
    for key in now.keys() & saved.keys():
        if isinstance(now[key], dict):
            now[key] |= {name: saved[key][name] for name in now[key].keys() & saved[key].keys()}
        else:
            now[key] = saved[key]
    return now


def load(text: str, data_dir: str = "") -> Any:
    """The configuration of "configs/auvit.py:synth_a,quick": a file and its arguments.

    A file that is not found from here is looked for in the package, where it is installed, and beside it.
    What it chooses by a dataset it chooses by the one in `data_dir`, if that is given.
    """
    path, _, argument = text.partition(":")
    package = pathlib.Path(__file__).parents[1]
    places = [folder / path for folder in (pathlib.Path(), package, package.parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        ours = [*(package / "configs").glob("*.py"), *(package.parent / "configs").glob("*.py")]
        raise errors.unknown("config", path, sorted(f"configs/{file.name}" for file in ours))
    try:
        made = runpy.run_path(str(found))
    except SyntaxError as error:
        raise errors.UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    if "get_config" not in made:
        raise errors.UserError(f"config: {path!r} defines no get_config")
    with catalog.kept_in(data_dir):
        return made["get_config"](argument or None)


def shrink(config: Any) -> None:
    """Makes a run finish within 90 s of two quiet cores: few records, two epochs, a limit to their time.

    Steps have no more rows than are computed in a few seconds, whatever the network.
    """
    data = section(Data, config.data.to_dict(), "data")
    unit = data.period * config.train.accumulate * jax.device_count()
    rows = min(data.batch_size, max(1, int(_STEP_MACS / _step_macs(config)) // unit) * unit)
    config.data.batch_size = rows
    sizes = {"train": 4 * rows, "validation": rows, "test": rows}
    if config.data.target in (*synth.DIALECTS, *synth.CLIP_SETS):
        others = synth.split_sizes(config.data.target).keys() - sizes.keys()
        sizes |= dict.fromkeys(sorted(others), rows)
    with config.unlocked():
        config.data.sizes = ConfigDict(sizes)
    config.data.eval_batch_size = rows
    config.train.epochs = 2
    config.train.time_limit = 30.0  # compiling the step is in it; the rest is for evaluating


_STEP_MACS = 100e9  # multiply-adds of two cores in about three seconds
_PASSES = 9  # through the network for a row: three views at most, three times for gradients


def _step_macs(config: Any) -> float:
    """About how many multiply-adds a row of a step takes."""
    name, data = config.model.name, config.data
    options = {key: value for key, value in config.model.items() if key != "name"}
    return _PASSES * max(
        table.macs(name, models.create(name, **options), data.size, data.frames), 1
    )


def parse_argument(argument: str | None, **defaults: Any) -> types.SimpleNamespace:
    """`"synth_a,aux=synth_au,quick"` -> values in the types of `defaults`.

    A bare word sets a flag (a default that is a bool) or, if it is the first, the option named first.

    >>> parse_argument("rafdb,aux=rafau+emotionet,quick", target="", aux=(), quick=False)
    namespace(target='rafdb', aux=('rafau', 'emotionet'), quick=True)
    """
    values = dict(defaults)
    first = next(iter(defaults), None)
    for position, part in enumerate(filter(None, (argument or "").split(","))):
        key, equals, text = part.partition("=")
        if not equals and isinstance(defaults.get(key), bool):
            values[key] = True
            continue
        if not equals and position == 0 and first is not None:
            flags = [name for name, value in defaults.items() if isinstance(value, bool)]
            if difflib.get_close_matches(part, flags, n=1, cutoff=0.75):
                raise errors.unknown("config argument", part, defaults)
            key, text = first, part
        if key not in defaults:
            raise errors.unknown("config argument", key, defaults)
        values[key] = _convert(f"config argument {key}", text, defaults[key])
    return types.SimpleNamespace(**values)


def _convert(what: str, text: str, like: Any) -> Any:
    if like is None:  # of any type
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(text)
    if isinstance(like, bool):
        if text.lower() not in ("true", "false", "1", "0", ""):
            raise errors.unknown(what, text, ("true", "false"))
        return text.lower() in ("true", "1", "")
    if isinstance(like, (int, float)):
        try:
            return type(like)(text)
        except ValueError:
            raise errors.UserError(f"{what}: {text!r} is not {type(like).__name__}") from None
    if isinstance(like, tuple):
        like_each = like[0] if like else ""
        parts = [part.strip(" '\"") for part in re.split("[+,]", text.strip("()[] "))]
        return tuple(_convert(what, part, like_each) for part in parts if part)
    return text


def note_of(head: str, said: Mapping[str, str]) -> str:
    """A run's note of several lines: what was chosen for each key, "data.align=5pt: why"."""
    return "\n  ".join([f"{head}:", *said.values()]) if said else ""


def override(config: Any, key: str, value: Any) -> None:
    """Sets a value in place of the config's own choice, whose reason the run no longer gives."""
    set_value(config, key, value)
    lines = [line for line in config.note.split("\n") if not line.lstrip().startswith(f"{key}=")]
    config.note = "\n".join(lines)


def set_value(config: Any, key: str, value: Any) -> None:
    """Sets "train.epochs" and the like; text is converted to the type of the value it replaces.

    >>> import aufer_jax.papers
    >>> config = default("mvfer")
    >>> set_value(config, "optimizer.lr", "1e-3")
    >>> config.optimizer.lr
    0.001
    """
    *parents, leaf = key.split(".")
    section_ = config
    for parent in parents:
        section_ = section_.get(parent) if isinstance(section_, ConfigDict) else None
    if not isinstance(section_, ConfigDict) or leaf not in section_:
        raise errors.unknown("key of the config", key, _keys(config))
    if isinstance(value, str):
        replaced = section_[leaf]
        if isinstance(replaced, ConfigDict):
            names = ", ".join(f"{key}.{name}" for name in replaced)
            raise errors.UserError(f"{key}: is a section; set one of {names}")
        value = _convert(key, value, replaced if replaced != () else _example(key))
    section_[leaf] = value


def _example(key: str) -> tuple[Any, ...]:
    """What a list that is empty by default may hold: ("schedule.milestones") -> (0.0,)."""
    parent, _, leaf = key.rpartition(".")
    hint = typing.get_type_hints(SECTIONS[parent])[leaf] if parent in SECTIONS else tuple[str, ...]
    return (typing.get_args(hint)[0](),)


def _keys(config: Any, prefix: str = "") -> list[str]:
    found = []
    for key, value in config.items():
        found += (
            _keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [prefix + key]
        )
    return found


def section(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    """A mapping -> the dataclass that defines its keys and types.

    >>> section(Train, {"epochs": 3}, "train").epochs
    3
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    converted = {}
    for key, value in dict(values).items():
        if key not in fields:
            raise errors.unknown(f"key of {prefix}", key, fields)
        converted[key] = _typed(f"{prefix}.{key}", value, hints[key])
    return cls(**converted)


def _typed(what: str, value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
        return _typed(what, value, hint)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise errors.UserError(f"{what}: {value!r} is not a list of values")
        kinds = typing.get_args(hint)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(value):
            raise errors.UserError(f"{what}: {value!r} must have {len(kinds)} values")
        return tuple(_typed(what, part, kind) for part, kind in zip(value, kinds, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if isinstance(hint, type) and (
        not isinstance(value, hint) or (hint is int and isinstance(value, bool))
    ):
        raise errors.UserError(f"{what}: {value!r} is not {hint.__name__}")
    _check_finite(what, value)
    return value


def _check_finite(what: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise errors.UserError(f"{what}: {value} must be a finite number")
    if isinstance(value, Mapping):
        for key, part in value.items():
            _check_finite(f"{what}.{key}", part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_finite(what, part)


def check(config: ConfigDict | Mapping[str, Any]) -> Run:
    """Checks every key and value that can be checked without data or devices.

    >>> import aufer_jax.papers
    >>> config = default("mvfer")
    >>> check(config).train.epochs
    10
    >>> config.train.epochs = 0
    >>> check(config)
    Traceback (most recent call last):
    aufer_jax.errors.UserError: train.epochs: 0 must be greater than 0
    """
    values = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    known = [field.name for field in dataclasses.fields(Run)]
    for key in ("method", "model"):
        if key not in values:
            raise errors.UserError(
                f"the config has no {key!r}; `config.default(METHOD)` has all keys"
            )
    for key in values:
        if key not in known:
            raise errors.unknown("key of the config", key, known)
    loss = section(base.registered(values["method"]).options, values.get("loss", {}), "loss")
    sections = {name: section(cls, values.get(name, {}), name) for name, cls in SECTIONS.items()}
    rest = {key: values[key] for key in values if key not in (*SECTIONS, "loss")}
    _check_rest(rest)
    run = Run(loss=loss, **sections, **rest)
    for path, permitted in CHOICES.items():
        value = _get(run, path)
        for one in value if isinstance(value, tuple) else (value,):
            if one not in permitted:
                raise errors.unknown(path, one, permitted)
    for path in POSITIVE:
        if _get(run, path) <= 0:
            raise errors.UserError(f"{path}: {_get(run, path)} must be greater than 0")
    for path in NOT_NEGATIVE:
        if _get(run, path) < 0:
            raise errors.UserError(f"{path}: {_get(run, path)} must not be negative")
    for path, (least, most) in RANGES.items():
        _check_range(path, _get(run, path), least, most)
    if not 0 <= run.train.ema_decay < 1:
        raise errors.UserError(f"train.ema_decay: {run.train.ema_decay} must be from 0 up to 1")
    if run.optimizer.layer_decay != 1 and not run.optimizer.layers:
        raise errors.UserError(
            "optimizer.layers: name the layers that optimizer.layer_decay goes through"
        )
    if isinstance(run.loss, expression.Options):
        run.loss.check_labels(run.data.labels)
    if run.train.fsdp > 1 and run.train.parallel != "jit":
        raise errors.UserError(
            f"train.fsdp: {run.train.fsdp} needs train.parallel=jit, not {run.train.parallel}"
        )
    _check_batch(run.data, run.train.accumulate)
    return run


def _check_rest(values: Mapping[str, Any]) -> None:
    """The values outside of the sections."""
    for key in ("method", "resume", "init_from", "note"):
        if not isinstance(values.get(key, ""), str):
            raise errors.UserError(f"{key}: {values[key]!r} is not str")
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise errors.UserError(f"seed: {seed!r} is not int")
    if not isinstance(values["model"], Mapping):
        raise errors.UserError(f"model: {values['model']!r} is no section")
    _check_finite("model", values["model"])


def _check_range(path: str, value: Any, least: float, most: float) -> None:
    numbers = () if value is None else value if isinstance(value, tuple) else (value,)
    if any(not least <= number <= most for number in numbers):
        limits = f"from {least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise errors.UserError(f"{path}: {value} must be {limits}")
    if path in ORDERED and list(numbers) != sorted(numbers):
        raise errors.UserError(f"{path}: {value} must begin with the smaller number")


def _check_batch(data: Data, accumulate: int) -> None:
    if min(data.ratio) < 1:
        raise errors.UserError(f"data.ratio: {data.ratio} must be two whole numbers greater than 0")
    for split, size in data.sizes.items():
        if size < 1:
            raise errors.UserError(f"data.sizes.{split}: {size} must be greater than 0")
    if data.batch_size % (data.period * accumulate):
        raise errors.UserError(
            f"data.batch_size: {data.batch_size} is not a multiple of {data.period * accumulate}: "
            f"train.accumulate = {accumulate} parts of whole patterns of {data.period} rows"
        )


def _get(run: Run, path: str) -> Any:
    """The value of a key; None where the method has no such option."""
    parent, _, leaf = path.rpartition(".")
    return getattr(getattr(run, parent) if parent else run, leaf, None)
