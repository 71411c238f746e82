"""What a run is: the sections of its configuration, checked and typed, and the options of its method."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.data.views import Augment, Erase
from aufer_jax.train.optimizer import Optimizer
from aufer_jax.train.schedules import Schedule

TRACKERS = ("wandb", "mlflow", "trackio")  # each is an extra and a package of that name, too
Options = TypeVar("Options", covariant=True)  # of a method


@dataclasses.dataclass(frozen=True)
class Train:
    """The section `train` of a configuration."""

    epochs: int = 10
    parallel: str = "jit"  # or "pmap"
    fsdp: int = (
        1  # devices that share one copy of parameters and optimizer state; 1: each has its own
    )
    sync_batchnorm: bool = True  # batch statistics over all devices; False: each its own
    compute_dtype: str = "float32"  # or "bfloat16"
    accumulate: int = 1  # parts a batch is worked through in, one update for all
    # What each block computes again in the backward pass, in place of keeping it: one of `remat.KINDS`.
    remat: str = ""
    ema_decay: float = 0.0  # 0: no moving average of the parameters
    log_every: int = 50  # steps between looks at the metrics on device
    save_every: int = 0  # steps between checkpoints inside an epoch; 0: at epoch ends only
    time_limit: float = 0.0  # seconds after which training ends, wherever it is; 0: none
    keep: int = 2  # latest checkpoints kept; the best one is kept beside them
    best_metric: str = "accuracy"  # of the validation split
    patience: int = 0  # epochs without a better one after which training ends; 0: all are trained
    # What each epoch is validated on. "test", as in much published work: the best epoch is then chosen
    # on the test split, and training takes the rows of the validation split too.
    validation_split: str = "validation"
    peak_tflops: float = 0.0  # of a device, for the share that is used; 0: of `chips.PEAKS`
    trackers: tuple[str, ...] = ()  # of `TRACKERS`, beside the run's own JSON lines and TensorBoard


@dataclasses.dataclass(frozen=True)
class Data:
    """The section `data` of a configuration."""

    target: str = "synth_a"
    aux: tuple[str, ...] = ()  # datasets that teach through AUs; beside clips they may hold images
    ratio: tuple[int, int] = (4, 1)  # target rows : auxiliary rows of every batch
    target_rows: int = 0  # train on so many records of the target only; 0: on all
    target_aus: bool = False  # the target teaches through its own AUs too
    aux_expressions: bool = False  # auxiliaries teach through their expression labels too
    aux_labels: str = ""  # a table of these labels for auxiliaries that have none, see `aux_labels`
    size: int = 112  # pixels, square
    frames: int = 16  # of a clip
    sampling: str = "segments"  # which frames: one of `sampling.RULES`
    frame_step: int = 1  # from one frame to the next, of "dense"
    test_clips: int = 1  # clips of a record that evaluation averages over, of "dense"
    au_frames: str = "all"  # or "sampled": which frames of a clip decide on its AUs
    fold: int = 0  # of a dataset that is split into folds, from 1; 0: the splits as they are
    batch_size: int = 64  # all rows of a step, over all devices
    eval_batch_size: int = 128
    # Which AUs, and in which order (`facs.AU_ORDERS`); "aux": the auxiliaries'; "none": no AU head.
    aus: str = "au_vit_21"
    au_threshold: float = 1.0  # intensity from which an AU counts as present
    au_labels: str = "presence"  # or "intensity": what the AUs of images teach
    balanced: bool = False  # every class of the target as often as the largest
    workers: int = 0  # loader processes; 0: threads of this one
    # What votes and soft labels become in training: one of `votes.LABELS`.
    labels: str = "majority"
    align: str = ""  # or "5pt": faces are aligned by their landmarks
    fill: str = (
        "black"  # or "edge": what is seen where an image, or what its black bars leave, has ended
    )
    threads: int = 2
    ahead: int = 2  # batches put on the devices ahead of their step
    dir: str = ""  # prepared datasets; empty: $AUFER_DATA, or ~/.cache/aufer_jax
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)  # most records of splits

    @property
    def period(self) -> int:
        """Rows after which target and auxiliary rows repeat their pattern."""
        return sum(self.ratio) // math.gcd(*self.ratio) if self.aux else 1

    @property
    def target_batch_size(self) -> int:
        """The target's rows of a step."""
        return self.batch_size * self.ratio[0] // sum(self.ratio) if self.aux else self.batch_size


@dataclasses.dataclass(frozen=True)
class Heatmap(HeatmapSpec):
    """How AU heatmaps are drawn, where a method asks for them."""

    size: int = 0  # 0: four times the side of the network's feature map

    def __post_init__(self):
        self.spec(1)

    def spec(self, size: int) -> HeatmapSpec:
        """The checked heatmap of this size, where none is configured."""
        values = dataclasses.asdict(self)
        values["size"] = self.size or size
        return HeatmapSpec(**values)


@dataclasses.dataclass(frozen=True)
class Run(Generic[Options]):
    """A checked configuration."""

    method: str
    seed: int
    model: Mapping[str, Any]
    loss: Options  # the method's own options
    data: Data
    augment: Augment
    erase: Erase  # of the mirrored view
    heatmap: Heatmap
    optimizer: Optimizer
    schedule: Schedule
    train: Train
    resume: str = ""
    init_from: str = ""
    note: str = ""  # what the config chose by itself
