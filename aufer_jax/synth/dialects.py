"""Named synthetic datasets: each with its own habit, noise, balance, camera and label order."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

from aufer_jax.errors import unknown
from aufer_jax.facs import AU_VIT_21, EMOTIONET_16, EXPRESSIONS, OPENFACE_16
from aufer_jax.synth.camera import CameraStyle
from aufer_jax.synth.expressions import (
    COMMON,
    COMPOUND,
    CROWD,
    KEYWORD,
    WILD,
    Habit,
    blended,
)
from aufer_jax.synth.geometry import AUS

SPLITS = ("train", "validation", "test", "occluded")  # of every dataset of photographs
POSE = "pose"  # of some: as test, with every face turned by 28 to 50 degrees

# The label orders of RAF-DB, FERPlus, AffectNet with seven classes, and DFEW.
_RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
_AFFECTNET = EXPRESSIONS[:7]
_DFEW = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@dataclass(frozen=True)
class Dialect:
    """A synthetic dataset of photographs.

    `shares` are class frequencies in the order of `expressions`; `test_shares` those of test,
    occluded and pose where they differ. `label_noise` touches the train split only: all other
    labels are the truth. `aus` are the annotated action units; others are 0 and unknown.
    """

    name: str
    expressions: tuple[str, ...]
    habit: Habit
    shares: tuple[float, ...]
    test_shares: tuple[float, ...] | None = None
    labelled: bool = True
    label_noise: float = 0.0
    strength: tuple[float, float] = (0.45, 1.25)
    blend: float = 0.12
    stray: float = 0.05
    occluded_share: float = 0.04  # of train, validation and test
    aus: tuple[int, ...] = AUS
    camera: CameraStyle = field(default_factory=CameraStyle)
    sizes: dict[str, int] = field(default_factory=dict)
    images_per_subject: int = 6


DIALECTS: dict[str, Dialect] = {
    d.name: d
    for d in (
        Dialect(
            name="synth_a",
            expressions=_RAFDB,
            habit=COMMON,
            shares=(0.13, 0.07, 0.09, 0.31, 0.16, 0.09, 0.15),
            label_noise=0.05,
            sizes={"train": 6000, "validation": 700, "test": 1400, "occluded": 700},
        ),
        Dialect(
            name="synth_b",
            expressions=_FERPLUS,
            habit=CROWD,
            shares=(0.28, 0.24, 0.13, 0.12, 0.09, 0.05, 0.06, 0.03),
            label_noise=0.10,
            strength=(0.40, 1.20),
            aus=OPENFACE_16,
            camera=CameraStyle(
                grey=1.0,
                resolution=(0.38, 0.46),
                quality=(55, 85),
                scale=(0.27, 0.32),
                shift=0.03,
                noise=(1.5, 5.0),
                blur=(0.0, 4.0),
            ),
            sizes={"train": 6000, "validation": 700, "test": 1400, "occluded": 700},
        ),
        Dialect(
            name="synth_c",
            expressions=_AFFECTNET,
            habit=WILD,
            shares=(0.25, 0.42, 0.09, 0.07, 0.04, 0.03, 0.10),
            test_shares=(1 / 7,) * 7,
            label_noise=0.15,
            strength=(0.30, 1.15),
            blend=0.2,
            aus=OPENFACE_16,
            camera=CameraStyle(
                yaw=18.0,
                pitch=8.0,
                roll=8.0,
                large_pose=0.15,
                contrast=(0.3, 0.95),
                exposure=(0.65, 1.25),
                warmth=(-0.15, 0.15),
                saturation=(0.6, 1.5),
                grey=0.1,
                backgrounds=("blocks", "blurred"),
            ),
            sizes={"train": 8000, "validation": 700, "test": 1400, "occluded": 700, POSE: 700},
        ),
        Dialect(
            name="synth_d",
            expressions=_AFFECTNET,
            habit=KEYWORD,
            shares=(0.30, 0.34, 0.09, 0.08, 0.05, 0.06, 0.08),
            label_noise=0.15,
            aus=EMOTIONET_16,
            camera=CameraStyle(
                warmth=(0.02, 0.22),
                exposure=(0.6, 1.0),
                contrast=(0.5, 1.0),
                scale=(0.20, 0.26),
                shift=0.04,
                blur=(0.0, 10.0),
                noise=(2.0, 6.0),
                quality=(40, 80),
                backgrounds=("blurred", "blocks"),
            ),
            sizes={"train": 4000, "validation": 500, "test": 1000, "occluded": 500},
        ),
        Dialect(
            name="synth_au",
            expressions=_RAFDB,
            habit=COMPOUND,
            shares=(0.16, 0.14, 0.16, 0.14, 0.16, 0.16, 0.08),
            labelled=False,
            strength=(0.55, 1.35),
            blend=0.5,
            stray=0.08,
            aus=AU_VIT_21,
            camera=CameraStyle(
                yaw=6.0,
                pitch=4.0,
                roll=3.0,
                large_pose=0.0,
                contrast=(0.4, 0.6),
                noise=(0.5, 2.0),
                blur=(0.0, 2.0),
                resolution=(0.9, 1.0),
                quality=(88, 96),
                backgrounds=("plain", "gradient"),
            ),
            sizes={"train": 3500, "validation": 400, "test": 700, "occluded": 300},
        ),
    )
}

# `synth_a` with other people, who show their expressions more and more as those of `synth_d` do: the
# number is the share, in per cent, of the faces that do.
LADDER = {f"synth_mix{percent}": percent / 100 for percent in (0, 25, 50, 75, 100)}
DIALECTS |= {
    name: replace(DIALECTS["synth_a"], name=name, habit=blended(COMMON, KEYWORD, share))
    for name, share in LADDER.items()
}

# `synth_au` out of its studio: three in ten faces occluded, all heads turned as those of `synth_c` are.
_STUDIO, _LOOSE = DIALECTS["synth_au"], DIALECTS["synth_c"].camera
DIALECTS["synth_au_wild"] = replace(
    _STUDIO,
    name="synth_au_wild",
    occluded_share=0.3,
    camera=replace(
        _STUDIO.camera,
        yaw=_LOOSE.yaw,
        pitch=_LOOSE.pitch,
        roll=_LOOSE.roll,
        large_pose=_LOOSE.large_pose,
    ),
)


@dataclass(frozen=True)
class ClipSet:
    """A synthetic dataset of clips; the fields that `Dialect` has mean the same here.

    `frames` is the range of clip lengths, `unrelated` the share of clips with a few frames of
    another expression, `talking` the share with a speaking mouth, `faint` the share whose
    expression holds for only a short part of the clip.
    """

    name: str
    expressions: tuple[str, ...]
    habit: Habit
    shares: tuple[float, ...]
    label_noise: float = 0.0
    strength: tuple[float, float] = (0.6, 1.3)
    stray: float = 0.03
    frames: tuple[int, int] = (16, 40)
    unrelated: float = 0.35
    talking: float = 0.25
    faint: float = 0.2
    aus: tuple[int, ...] = AUS
    camera: CameraStyle = field(default_factory=CameraStyle)
    sizes: dict[str, int] = field(default_factory=dict)
    clips_per_subject: int = 3


CLIP_SETS: dict[str, ClipSet] = {
    c.name: c
    for c in (
        ClipSet(
            name="synth_clips",
            expressions=_DFEW,
            habit=WILD,
            shares=(0.209, 0.162, 0.228, 0.186, 0.126, 0.012, 0.077),
            label_noise=0.05,
            camera=CameraStyle(large_pose=0.05, resolution=(0.6, 1.0), quality=(60, 90)),
            sizes={"train": 800, "validation": 100, "test": 200},
        ),
        ClipSet(  # to begin with: every class often enough, shown as the textbook has it
            name="synth_clips_b",
            expressions=_DFEW,
            habit=COMMON,
            shares=(1 / 7,) * 7,
            camera=CameraStyle(grey=0.2, noise=(1.0, 4.0), resolution=(0.8, 1.0)),
            sizes={"train": 1200, "validation": 100, "test": 200},
        ),
    )
}  # fmt: skip

Set = TypeVar("Set", Dialect, ClipSet)


def lookup(table: dict[str, Set], name: str, split: str, index: int) -> Set:
    """The dataset of that name, after checks of split and index."""
    if name not in table:
        raise unknown("dataset", name, table)
    found = table[name]
    if split not in found.sizes:
        raise unknown("split", split, found.sizes)
    if index < 0:
        raise ValueError(f"index: {index} must not be negative")
    return found


def key(name: str, split: str, index: int) -> str:
    """The key of a record.

    >>> key("synth_a", "train", 3)
    'synth_a-train-000003'
    """
    return f"{name}-{split}-{index:06d}"


def split_sizes(name: str) -> dict[str, int]:
    """Default number of records of each split of a dialect or clip set.

    >>> split_sizes("synth_a")["train"]
    6000
    """
    table = {**DIALECTS, **CLIP_SETS}
    if name not in table:
        raise unknown("dataset", name, table)
    return dict(table[name].sizes)
