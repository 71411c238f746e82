"""AU-ViT: joint training through AUs.

    python -m aufer_jax.main --config=configs/auvit.py
    python -m aufer_jax.main --config=configs/auvit.py:synth_b,aux=synth_au,variant=paper

Without arguments: a small variant on synthetic faces (docs/synthetic.md), sized for two CPU cores; time
and result are in README.md. `variant` is small, paper, released or multistage, `quick` a trial run.
"""

from ml_collections import ConfigDict

from aufer_jax import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_a", aux=("synth_au",), variant="small", quick=False
    )
    config = config_lib.default("auvit")
    config.data.target = arg.target
    config.data.aux = arg.aux
    config.data.ratio = (4, 1)
    config.data.batch_size = 80  # 64 + 16
    config.model = config_lib.model(f"auvit_{arg.variant}")
    config.loss.beta = 5.0  # 16 rows a step and few epochs: AUs would hardly be learned at 1
    config.optimizer.lr = 3e-3
    config.optimizer.weight_decay = 0.02
    config.schedule.warmup_epochs = 1.0
    config.train.epochs = 7
    if arg.quick:
        config_lib.shrink(config)
    return config
