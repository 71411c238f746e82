"""The networks that come with this package: AU-ViT, small, on the face mesh's points and blendshapes too.

    python benchmarks/shipped.py prepare --photographs real_faces.zip
    python -m aufer_jax.main --config=configs/shipped_clean.py
    python benchmarks/shipped.py ship runs/shipped_clean clean
    python -m aufer_jax.main --config=configs/shipped_small.py

Seed 0; clean: 12 epochs of 43 steps, small: 30 epochs of 73 steps; half a second a step on one core.
aufer_jax/weights/data/CARD.md has the data, docs/results/predict.md what came out.
"""

from typing import Any

from aufer_jax.train import config as config_lib


def clean() -> Any:
    """Drawn faces only."""
    config = config_lib.default("auvit")

    config.data.target = "drawn"
    config.data.target_aus = True
    config.data.aus = "heatmap_23"
    config.data.au_labels = "intensity"
    config.data.size = 112
    config.data.batch_size = 64

    # Drawings lack what photographs have, so most of what is not the face is changed at random.
    config.augment.rotate = 10.0
    config.augment.scale = 0.1
    config.augment.shift = 6
    config.augment.brightness = 0.3
    config.augment.contrast = 0.4
    config.augment.grayscale = 0.5
    config.augment.blur = 0.5
    config.augment.noise = 0.3
    config.augment.erase = 0.3

    config.model = config_lib.model("auvit_face")
    config.loss.beta = 2.0
    config.loss.label_smoothing = 0.1

    config.optimizer.name = "adamw"
    config.optimizer.lr = 3e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.warmup_epochs = 1.0

    config.train.epochs = 12
    config.train.ema_decay = 0.99
    config.train.best_metric = "uar"
    config.train.log_every = 200
    return config


def small() -> Any:
    """Photographs, from `clean` on: what that learned from drawn faces is kept where they teach nothing."""
    config = clean()
    config.init_from = "clean"

    config.data.target = "photographs"

    config.augment.grayscale = 0.3
    config.augment.blur = 0.3
    config.augment.noise = 0.0

    # Half of the photographs are neutral and 40 % happy: the rarer classes count somewhat more.
    config.loss.expression = "logit_adjusted"
    config.loss.tau = 0.5
    config.loss.label_smoothing = 0.05

    config.optimizer.lr = 2e-3
    config.optimizer.weight_decay = 0.1
    config.schedule.warmup_epochs = 0.5

    config.train.epochs = 30
    config.train.best_metric = "war_plus_uar"
    return config
