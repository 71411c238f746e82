"""Published checkpoints -> our variables: finds the names, fits the shapes, reports what was done."""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import safetensors
from flax import linen as nn
from flax import traverse_util

from aufer_jax import models
from aufer_jax.errors import UserError, brief
from aufer_jax.weights import adapt, keymap, layouts, shipped, unpickle
from aufer_jax.weights.layouts import shapes

Path = tuple[str, ...]
Tensors = Mapping[str, np.ndarray]

CONVERTED, CARD, FORMAT = "weights.safetensors", "card.json", 1  # what `convert` writes
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")
ENOUGH = 0.25  # of the smaller of checkpoint and network, in numbers: else it is the wrong network


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a checkpoint; keys are the checkpoint's, of `initial` those it would have."""

    model: str
    names: str  # how the keys were read
    loaded: tuple[str, ...]
    adapted: Mapping[str, str]  # key -> what was done
    initial: Mapping[str, str]  # left at the initial value -> why
    unused: tuple[str, ...]  # stored by the reference and never read
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.model}: {len(self.loaded)} tensors loaded ({self.names})"]
        lines += [f"adapted: {key} ({how})" for key, how in self.adapted.items()]
        for why in dict.fromkeys(self.initial.values()):
            keys = [key for key, reason in self.initial.items() if reason == why]
            lines.append(f"left at the initial value, {why}: {_listed(keys)}")
        for title, keys in (("never read", self.unused), ("dropped", self.dropped)):
            lines += [f"{title}: {_listed(keys)}"] if keys else []
        return "\n".join(lines)


def _listed(keys: Sequence[str], most: int = 6) -> str:
    return f"{len(keys)} ({', '.join(keys[:most])}{', ...' if len(keys) > most else ''})"


def load(
    path: str | pathlib.Path,
    name: str,
    model: nn.Module | Mapping | None = None,
    inert: Iterable[str] = (),
) -> tuple[dict, Report]:
    """Variables of the architecture `name` from a `.pth`, `.pt`, `.bin`, `.pkl` or `.safetensors` file.

    `model` is the module to fill where its options are not the architecture's own, or variables, whose
    values are then the initial ones. `inert`: see `unpickle.read`. Heads of another size and what the
    checkpoint lacks keep their initial values; a checkpoint of another architecture is an error.
    """
    tensors = read(path, inert)
    try:
        return from_torch(tensors, name, model)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def places(checkpoint: str | pathlib.Path) -> tuple[str, ...]:
    """The files and folders that are named, by commas if it is not one itself: parts of one network.

    >>> places("vit.pth, landmarks.pth")
    ('vit.pth', 'landmarks.pth')
    """
    text = str(checkpoint)
    if "," not in text or pathlib.Path(text).exists():
        return (text,)
    return tuple(place.strip() for place in text.split(",") if place.strip())


def joined(reports: Sequence[Report]) -> Report:
    """The report of checkpoints that filled a network one after the other."""
    *_, last = reports

    def every(field: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for report in reports for key in getattr(report, field)))

    return Report(
        model=last.model,
        names="; ".join(dict.fromkeys(report.names for report in reports)),
        loaded=every("loaded"),
        adapted={key: how for report in reports for key, how in report.adapted.items()},
        initial={
            key: why
            for key, why in last.initial.items()
            if all(key in report.initial for report in reports)
        },
        unused=every("unused"),
        dropped=every("dropped"),
    )


def read(path: str | pathlib.Path, inert: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The state dict in a checkpoint file, out of the dicts it is wrapped in.

    What `convert` wrote, the folder or its `weights.safetensors`, is read under the published names, and so
    is a shipped network, by its name.
    """
    path = shipped.place(path)
    if path.is_dir():
        if not (path / CONVERTED).is_file():
            raise UserError(
                f"{path}: no {CONVERTED}; name a file, or a folder that `convert` wrote"
            )
        path = path / CONVERTED
    if path.suffix == ".safetensors":
        tensors, model = read_safetensors(path)
        return to_torch(nested(tensors), model) if model else tensors
    found = held = unpickle.read(path, inert)
    for _ in WRAPPERS:  # none is wrapped more often
        if not isinstance(found, dict):
            break
        wrapper = next((key for key in WRAPPERS if isinstance(found.get(key), dict)), None)
        if wrapper is None:
            tensors = {
                key: value
                for key, value in found.items()
                if isinstance(key, str) and isinstance(value, np.ndarray)
            }
            if tensors:
                return tensors
            break
        found = found[wrapper]
    keys = str(list(held)[:8])[:200] if isinstance(held, dict) else type(held).__name__
    raise UserError(f"{path}: no state dict; it holds {keys}, looked under {', '.join(WRAPPERS)}")


def read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a file, and the architecture if `convert` wrote it."""
    path.stat()  # the error of a missing file names it
    try:
        with safetensors.safe_open(path, "np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
            said = file.metadata() or {}
    except Exception as error:  # its own class, and others for unknown number types
        raise UserError(f"{path}: not a whole .safetensors file: {brief(error)}") from error
    if not any(key.startswith("params/") for key in tensors):
        return tensors, ""
    model = said.get("model") or card(path.parent)["model"]
    models.architecture(model)
    return tensors, model


def card(folder: pathlib.Path) -> dict[str, Any]:
    """What `convert` wrote of the weights in a folder."""
    path = folder / CARD
    if not path.is_file():
        raise UserError(f"{folder}: no {CARD}; name a folder that `convert` wrote")
    try:
        found = json.loads(path.read_text())
        if found["format"] == FORMAT and {"model", "options"} <= found.keys():
            return found
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: damaged; convert the weights again") from error
    raise UserError(f"{path}: a card of format {found['format']!r}; only {FORMAT} is read")


def nested(flat: Tensors) -> dict[str, Any]:
    """Variables from arrays called "params/name/..."."""
    return traverse_util.unflatten_dict({tuple(key.split("/")): v for key, v in flat.items()})


def from_torch(
    state_dict: Tensors, name: str, model: nn.Module | Mapping | None = None
) -> tuple[dict, Report]:
    """Variables of the architecture `name` from a state dict; otherwise as `load`."""
    if model is None:
        model = models.create(name)
    wanted = keymap.flat(shapes(name, model) if isinstance(model, nn.Module) else model)
    tensors = {key: value for key, value in state_dict.items() if "num_batches_tracked" not in key}
    tensors = adapt.renamed(tensors, models.architecture(name).renamed)
    before_branch = len({path[1] for path in wanted if path[1].startswith("blocks_1_")})
    if before_branch:
        tensors = adapt.split_blocks(tensors, before_branch)
    rules, names = models.architecture(name).torch_keys, _find_names(wanted, tensors, name)
    _check_enough(wanted, tensors, names, name)
    smooth = any("register_tokens" in key for key in tensors)  # as DINOv2's code then does
    filled, adapted, initial, conflicts = {}, {}, {}, []
    for path, place in wanted.items():
        key = names.keys.get(path)
        if key is None:
            initial[path] = (keymap.torch_key(path[1:], rules), "not in the checkpoint")
            continue
        value, shape = np.asarray(tensors[key]), layouts.torch_shape(path, place)
        if value.shape != shape:
            try:
                value, how = adapt.adapt(key, value, shape, path in head_leaves(name), smooth)
            except ValueError as error:
                conflicts.append(str(error))
                continue
            if value is None:
                initial[path] = (key, how)
                continue
            adapted[key] = how
        filled[path] = np.asarray(keymap.to_layout(value, path[-1]), np.float32)
    if conflicts:
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        raise _misfit(name, tensors, conflicts[0] + more)
    filled |= _initial_values(name, model, list(initial))
    taken = {key for path, key in names.keys.items() if path not in initial}
    left = [key for key in tensors if key not in taken and key not in dict(initial.values())]
    unused = [key for key in left if _is_unused(name, names.short[key])]
    report = Report(
        model=name,
        names=names.text,
        loaded=tuple(key for key in tensors if key in taken and key not in adapted),
        adapted=adapted,
        initial=dict(initial.values()),
        unused=tuple(unused),
        dropped=tuple(key for key in left if key not in unused),
    )
    return traverse_util.unflatten_dict({path: filled[path] for path in wanted}), report


def to_torch(variables: Mapping, name: str) -> dict[str, np.ndarray]:
    """Variables of the architecture `name` as a state dict under the published names."""
    return keymap.to_torch(variables, models.architecture(name).torch_keys)


def _initial_values(name: str, model: nn.Module | Mapping, paths: list[Path]) -> dict[Path, Any]:
    if not isinstance(model, nn.Module):
        values = {path: keymap.flat(model)[path] for path in paths}
        bare = [path for path in paths if isinstance(values[path], jax.ShapeDtypeStruct)]
        if bare:
            raise UserError(
                f"{'/'.join(bare[0])}: not in the checkpoint, and given as a shape; give the module"
            )
        return values

    @jax.jit  # so that only these leaves are ever computed
    def draw(key: jax.Array) -> list[jax.Array]:
        flat = keymap.flat(layouts.init(name, model, key))
        return [flat[path] for path in paths]

    return dict(zip(paths, map(np.asarray, draw(jax.random.key(0))), strict=True))


@functools.cache
def head_leaves(name: str) -> Mapping[Path, str]:
    """Leaves whose shape or being follows the number of classes or AUs -> the option that sets it."""
    sized = [option for option in ("num_classes", "num_aus") if option in models.options(name)]
    given = dict.fromkeys(sized, 2)
    others = [(option, 3) for option in sized]
    if "aus" in models.options(name):
        aus = getattr(models.create(name), "aus")  # noqa: B009 (an option of some modules)
        others += [("aus", aus[:1]), ("aus", aus[1:])]
    base = keymap.flat(shapes(name, models.create(name, **given)))
    found = {}
    for option, value in others:
        other = keymap.flat(shapes(name, models.create(name, **given | {option: value})))
        for path, place in base.items():
            if path not in other or other[path].shape != place.shape:
                found[path] = option
    return found


@dataclasses.dataclass(frozen=True)
class _Names:
    keys: Mapping[Path, str]  # leaf -> the checkpoint's key
    short: Mapping[str, str]  # the checkpoint's keys -> without its prefix
    text: str
    fitting: frozenset[Path]


def _find_names(wanted: Mapping[Path, Any], tensors: Tensors, name: str) -> _Names:
    """The reading of the checkpoint's keys under which most tensors fit.

    Tried are the architecture's names, then other architectures' (their backbones are ours under other
    names); each with a prefix dropped from the checkpoint's keys, or a module's from ours.
    """
    best = None
    for reading in _readings(wanted, tensors, name):
        if best is None or len(reading.fitting) > len(best.fitting):
            best = reading
        if len(best.fitting) == len(wanted):
            break
    assert best is not None, "the plain reading is always tried"
    return best


def _readings(wanted: Mapping[Path, Any], tensors: Tensors, name: str) -> Iterator[_Names]:
    rule_sets = {models.architecture(name).torch_keys: "its own names"}
    rule_sets.setdefault((), "torchvision's names")
    for other in models.names():
        rule_sets.setdefault(models.architecture(other).torch_keys, f"the names of {other}")
    tables = layouts.stripped(tensors)
    shape = {path: layouts.torch_shape(path, place) for path, place in wanted.items()}
    for rules, text in rule_sets.items():
        keys = {path: keymap.torch_key(path[1:], rules) for path in wanted}
        modules = sorted({key.split(".")[0] + "." for key in keys.values() if "." in key})
        for module in ("", *modules):
            for prefix, table in tables.items():
                chosen = {
                    path: table[short]
                    for path, key in keys.items()
                    if (short := key.removeprefix(module)) in table
                }
                if len(set(chosen.values())) < len(chosen):
                    continue  # two places would share a tensor
                fitting = frozenset(
                    path
                    for path, key in chosen.items()
                    if shape[path] == tensors[key].shape
                    or adapt.inflatable(tensors[key].shape, shape[path])
                )
                note = f", without their {prefix!r}" if prefix else ""
                note += f", as our {module!r}" if module else ""
                short = {key: short for short, key in table.items()}
                yield _Names(chosen, short, text + note, fitting)


def _check_enough(wanted: Mapping[Path, Any], tensors: Tensors, names: _Names, name: str) -> None:
    fitting = sum(wanted[path].size for path in names.fitting)
    stored, ours = sum(t.size for t in tensors.values()), sum(p.size for p in wanted.values())
    if fitting < ENOUGH * min(stored, ours):
        raise _misfit(
            name,
            tensors,
            f"{len(names.fitting)} of its {len(tensors)} tensors fit one of the model's {len(wanted)}, "
            f"{fitting} of {min(stored, ours)} numbers",
        )


def _misfit(name: str, tensors: Tensors, why: str) -> ValueError:
    closest = layouts.closest(tensors)
    hint = (
        f"the closest architecture is {closest!r}" if closest else "no architecture here is close"
    )
    return UserError(f"the checkpoint is not one of {name!r}: {why}; {hint}")


def _is_unused(name: str, key: str) -> bool:
    return any(re.search(pattern, key) for pattern in models.architecture(name).unused)
