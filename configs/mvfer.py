"""MV-FER: three views of a face through one network.

    python -m aufer_jax.main --config=configs/mvfer.py

Without arguments: a small variant on synthetic faces (docs/synthetic.md), sized for two CPU cores.
"""

from ml_collections import ConfigDict

from aufer_jax import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(argument, target="synth_a", model="resnet_small", quick=False)
    config = config_lib.default("mvfer")
    config.data.target = arg.target
    config.data.batch_size = 64
    config.model = config_lib.model(arg.model)
    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "exponential"
    config.schedule.unit = "epoch"
    config.schedule.gamma = 0.8
    config.train.epochs = 8
    if arg.quick:
        config_lib.shrink(config)
    return config
