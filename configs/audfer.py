"""AU-DFER: AU-expression knowledge on a video model.

    python -m aufer_jax.main --config=configs/audfer.py
    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,au=none

Without arguments: a small 3-D ResNet on synthetic clips (docs/synthetic.md), sized for two CPU cores.
"""

from ml_collections import ConfigDict

from aufer_jax import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_clips", host="r3d_small", au="global", quick=False
    )
    config = config_lib.default("audfer")
    config.data.target = arg.target
    config.data.target_aus = True
    config.data.aus = "openface_18"
    config.data.size = 64
    config.data.frames = 8
    config.data.batch_size = 16
    config.data.eval_batch_size = 64
    finer = {"stem_strides": (1, 2, 2)} if arg.host == "r3d_small" else {}  # small frames
    config.model = config_lib.model(arg.host, **finer)
    config.loss.au = arg.au
    config.loss.label_smoothing = 0.0
    config.loss.au_weight = 0.0 if arg.au == "none" else 0.25
    config.optimizer.lr = 2e-3
    config.optimizer.weight_decay = 0.01
    config.schedule.warmup_epochs = 1.0
    config.train.epochs = 26
    config.train.best_metric = "uar"
    if arg.quick:
        config_lib.shrink(config)
    return config
