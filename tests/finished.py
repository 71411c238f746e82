"""Runs as training leaves them, but with random weights, on datasets that live in memory."""

import json

import jax
import numpy as np
import safetensors.numpy
import tiny_hosts
import toydata

from aufer_jax import models, weights
from aufer_jax.data import records, sampling, views
from aufer_jax.datasets import catalog
from aufer_jax.train import checkpoints, experiment
from aufer_jax.train import config as config_lib
from aufer_jax.train import workdir as workdir_lib

_RESNET = {"model.layers": (1, 1), "model.width": 8}
_VIT = {
    "model.dim": 8,
    "model.depth": 2,
    "model.heads": 2,
    "model.mlp_ratio": 1.0,
    "model.patch": 8,
}
_AUVIT = {"model.dim": 16, "model.heads": (2, 2), "model.ir_channels": (8, 16)}
_CNN_VIT = {
    "model.ir_channels": (4, 8),
    "model.ir_units": (1, 1),
    "model.depth": 1,
    "model.heads": 2,
}
# Method and network -> the architecture, and what makes it tiny.
IMAGES = {
    "mvfer": ("resnet_small", _RESNET),
    "mvfer-caffe": ("resnet50_caffe", {"model.layers": (1,), "model.width": 4}),
    "mvfer-heatmap": ("resnet_small", {**_RESNET, "loss.heatmap_role": "encoder"}),
    "auvit": ("auvit_small", {**_AUVIT, "model.regions": None}),
    "auvit-token": (
        "auvit_token",
        {**_VIT, "model.supervise_layer": 1, "model.au_token": "intended"},
    ),
    "auvit-vit": ("vit", _VIT),
    "auvit-cnn_vit": ("cnn_vit", {**_CNN_VIT, "model.supervise_layer": 0}),
}
HOSTS = {"mc3": "mc3_18", "p3d": "p3d63"}
PRETRAINING = {"dim": 16, "depth": 1, "decoder_dim": 12, "region": (2, 2, 2)}


def memory_catalog(monkeypatch, count=6):
    """The datasets "toyfaces" and "toyclips" in memory; all of their splits are the same records."""
    clips = [toydata.clip_record(i) for i in range(count)]
    sources = {
        "toyfaces": toydata.images(count, "toyfaces"),
        "toyclips": records.MemorySource(toydata.info("toyclips", records.CLIP), clips),
    }
    monkeypatch.setattr(catalog, "info", lambda name, data_dir=None: sources[name].info)
    monkeypatch.setattr(catalog, "source", lambda name, *args, **kwargs: sources[name])
    return sources


def images(name, **changes):
    """The configuration of one of `IMAGES`."""
    architecture, tiny = IMAGES[name]
    values = {"data.size": 32, **tiny, **changes}
    return _config(name.partition("-")[0], architecture, "toyfaces", values)


def clips(host, **changes):
    """The configuration of AU-DFER on a host, see `tiny_hosts`; "s2d-mesh" has landmarks from there."""
    host, _, landmarks = host.partition("-")
    found = {"model.landmarks": landmarks} if landmarks else {}
    values = {**tiny_hosts.values(host), "loss.au": "none", **found, **changes}  # counts no AUs
    return _config("audfer", HOSTS.get(host, host), "toyclips", values)


def pretraining(**changes):
    tiny = {f"model.{key}": value for key, value in PRETRAINING.items()}
    values = {"data.size": 32, "data.frames": 8, "train.best_metric": "loss", **tiny, **changes}
    return _config("mae_pretrain", "mae_dfer_pretrain_small", "toyclips", values)


def _config(method, architecture, target, values):
    config = config_lib.default(method)
    config.model = config_lib.model(architecture)
    config.data.target = target
    common = {"data.batch_size": 4, "data.eval_batch_size": 4, "data.threads": 1}
    with config.unlocked():
        for key, value in {**common, **values}.items():
            config_lib.set_value(config, key, value)
    return config


def save(workdir, config, devices=1):
    """Writes the workdir of a run whose weights are random, and returns its experiment and state."""
    built = experiment.build(config_lib.check(config), jax.devices()[:devices])
    state = built.devices.put_state(drawn(built.target, config.seed))
    workdir_lib.begin(workdir, json.loads(config.to_json_best_effort()), built.task.labels)
    saver = checkpoints.Checkpoints(workdir)
    saver.save(0, state, {}, kind="best")
    saver.wait()
    saver.close()
    return built, state


def converted(folder, name="resnet_small", **options):
    """Writes random weights of a network as `aufer weights convert` writes published ones."""
    options = options or {"layers": (1, 1), "width": 8, "num_classes": 4}
    model, size = models.create(name, **options), models.architecture(name).preprocess.size
    key = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    tensors = weights.to_torch(drawn(jax.eval_shape(model.init, key, image)), name)
    tensors = {path: np.ascontiguousarray(value) for path, value in tensors.items()}
    file = folder.with_suffix(".safetensors")
    safetensors.numpy.save_file(tensors, file)
    weights.convert(file, name, folder, **options)


def spec(size, clip=None):
    """How evaluation reads rows of this size, and clips of so many frames."""
    return views.Spec(size, clip=sampling.Sampling(clip) if clip else None, train=False)


def drawn(shapes, seed=0):
    """Random values of these shapes; those of the method's own rules would have to be compiled."""
    rng = np.random.default_rng(seed)

    def draw(path, place):
        values = rng.normal(0, 0.2, place.shape)
        return (np.abs(values) if "var" in str(path[-1]) else values).astype(place.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
