"""Faces and clips of your own: what all recipes choose by what is there, each choice with its reason."""

import dataclasses
import json
import pathlib
from typing import Any

import jax

from aufer_jax import weights
from aufer_jax.datasets import sample
from aufer_jax.datasets.sample import There
from aufer_jax.train import config as config_lib
from aufer_jax.train import devices, run

# Choices of all papers; what a network needs is in the recipes that they are made for.
MOST_LANDMARKS = 0.5  # share of the records from which on faces are aligned
BLACK = 0.01  # mean share of an aligned face from which on it is not left black
VALIDATION = 50  # records below which the loss chooses the best epoch
UNEVEN = 2.0  # times as frequent as another class
STEPS = 2000  # of a run on a CPU at least, as far as `EPOCHS` allow
EPOCHS = 60
PATIENCE = 200  # steps without a better epoch at least
MINUTES = 20  # of training on a CPU
SHIPPED = ("clean", "small")  # networks of the package, those that saw no photographs first
FRACTION = 4  # batches that a pass over the data has at least


def on_cpu() -> bool:
    """Whether JAX has nothing faster than a CPU."""
    return jax.default_backend() == "cpu"


@dataclasses.dataclass
class Chosen:
    """A configuration and what was chosen in it; `note` says all of it."""

    config: Any
    said: dict[str, str] = dataclasses.field(default_factory=dict)

    def set(self, key: str, value: Any, why: str) -> None:
        """Sets "data.align" and the like; the reason becomes a line of the run."""
        config_lib.set_value(self.config, key, value)
        self.say(key, why)

    def say(self, key: str, why: str) -> None:
        """Gives the reason for a value that the recipe has set."""
        section, _, leaf = key.rpartition(".")
        value = (self.config[section] if section else self.config)[leaf]
        text = str(value).lower() if isinstance(value, bool) else value
        self.said[key] = f"{key}={text}: {why}"

    def note(self) -> str:
        """What was chosen, for the run's first lines."""
        return config_lib.note_of("chosen; --config.KEY=VALUE changes it", self.said)


def fit(chosen: Chosen, there: There) -> None:
    """Alignment, classes, length and first weights, in any recipe for images or clips."""
    config, unit = chosen.config, there.kind
    config.data.target = there.name
    if not unit:
        return

    # ---- the face in the picture
    share = f"{100 * there.landmarks:.0f} % of the {unit}s have landmarks"
    if there.landmarks < MOST_LANDMARKS:
        chosen.set("data.align", "", f"{share}; aufer faces align finds them and makes this better")
    else:
        chosen.set("data.align", "5pt", share)
        if there.outside >= BLACK:
            black = f"{100 * there.outside:.0f} % of an aligned face lies outside its {unit}"
            chosen.set("data.fill", "edge", f"{black}; left black, that would be learnt")

    # ---- classes
    times, most, least = there.skew
    if times >= UNEVEN:
        why = f"{most} is {times:.0f} times as frequent as {least}"
        chosen.set("data.balanced", True, f"{why}, and each is drawn as often")
        chosen.set("train.best_metric", "uar", f"{why}, and each is judged alike")
    if 0 < there.validation < VALIDATION:
        few = f"only {there.validation} {unit}s validate, and right or wrong says little of so few"
        chosen.set("train.best_metric", "loss", few)

    # ---- length
    if on_cpu():
        _shorten(chosen, there)
    steps, epochs = _steps(config, there), config.train.epochs
    patience = min(epochs, max(5, epochs // 4, -(-PATIENCE // steps)))
    chosen.set("train.patience", patience, "epochs without a better one end the run; 0: never")

    # ---- few records and doubtful labels
    last = min(100, max(10, steps * epochs // 20))
    averaged = f"the mean weights of about {last} steps are judged and used: few records are noisy"
    chosen.set("train.ema_decay", round(1 - 1 / last, 3), averaged)
    chosen.set("loss.label_smoothing", 0.1, "some labels of photographs are wrong")

    # ---- first weights
    _first_weights(chosen)


def _shorten(chosen: Chosen, there: There) -> None:
    """Steps and epochs for a CPU, so that few records have enough and many do not take hours."""
    config = chosen.config
    data = config_lib.section(run.Data, config.data.to_dict(), "data")
    target = _target(data)
    if there.records < FRACTION * data.batch_size * target:
        unit = data.period * jax.device_count()  # of which a batch must have a multiple
        rows = max(1, int(there.records / FRACTION / target) // unit) * unit
        count = f"{there.records} {there.kind}s to train with"
        chosen.set("data.batch_size", rows, count)
        chosen.set("data.eval_batch_size", min(data.eval_batch_size, 4 * rows), count)
    steps = _steps(config, there)
    before, epochs = config.train.epochs, min(EPOCHS, -(-STEPS // steps))
    if epochs > before:
        chosen.set("train.epochs", epochs, f"of {steps} steps")
        if config.schedule.name == "exponential":  # ends at the same share of the first rate
            config.schedule.gamma **= before / epochs
    limit = f"{MINUTES} minutes on {len(devices.cores())} cores; 0: as long as all epochs take"
    chosen.set("train.time_limit", 60.0 * MINUTES, limit)


def _target(data: run.Data) -> float:
    """The share of a batch that is the target's rows."""
    return data.ratio[0] / sum(data.ratio) if data.aux else 1.0


def _steps(config: Any, there: There) -> int:
    """Steps of an epoch."""
    data = config_lib.section(run.Data, config.data.to_dict(), "data")
    return max(1, int(there.records / (data.batch_size * _target(data))))


def _first_weights(chosen: Chosen) -> None:
    """`init_from`: a network of the package of the same architecture, whose options are taken; or chance."""
    model = chosen.config.model.name
    for name in SHIPPED:
        path = pathlib.Path(weights.__file__).parent / "data" / name / "card.json"
        card: dict[str, Any] = {"model": ""}
        if path.is_file():
            card = json.loads(path.read_text(encoding="utf-8"))
        if card["model"] != model:
            continue
        for key, value in card["options"].items():
            if key in chosen.config.model:
                chosen.config.model[key] = tuple(value) if isinstance(value, list) else value
        chosen.set("data.size", card["preprocess"]["size"], f"that of {name}, see init_from")
        chosen.set("init_from", name, f"a network of the package that is a {model}")
        return
    why = (
        f"no network of the package is a {model}; a run's folder or a file of weights can be given"
    )
    chosen.set("init_from", "", why)


def look(name: str) -> There:
    """What a dataset holds; of one that is not prepared here nothing is known but its name."""
    return sample.look(name) or There(name, "", {}, 0, (), 0.0, 0.0)
