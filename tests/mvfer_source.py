"""What tests of MV-FER share: a network of four cells, a batch for it, its loss and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import toydata
from flax import linen as nn

from aufer_jax.data import heatmaps, views
from aufer_jax.models.layers import BatchNorm, Linear, class_maps
from aufer_jax.models.registry import Preprocess
from aufer_jax.papers.mvfer import method
from aufer_jax.train import setup

SIZE, SIDE, CLASSES = 16, 4, 3
PLAIN = Preprocess(SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
NO_LANDMARKS = (1, 4)  # of the toy batch


class Stub(nn.Module):
    """Cells of 4x4 pixels averaged, one linear map, ReLU, a head on the mean: as a network of four cells."""

    num_classes: int = CLASSES
    batchnorm: bool = False
    uneven: bool = False  # cells on the left count more

    @nn.compact
    def __call__(self, x, train=False):
        b, size = x.shape[:2]
        cells = x.reshape(b, SIDE, size // SIDE, SIDE, size // SIDE, 3).mean((2, 4))
        y = Linear(5, name="conv")(cells)
        y = BatchNorm(name="bn")(y, train) if self.batchnorm else y
        y = jax.nn.relu(y)
        if self.uneven:
            y = y * jnp.array([4.0, 3.0, 2.0, 1.0])[:, None]
        outputs = {"feature_map": y, "features": y.mean((1, 2))}
        if self.num_classes:
            head = Linear(self.num_classes, name="fc")
            outputs |= {"expression": head(outputs["features"]), "cam": class_maps(y, head)}
        return outputs


def stub_parts(model=None, **spec):
    heatmap = heatmaps.HeatmapSpec(size=SIZE)
    return setup.Parts(
        model=Stub() if model is None else model,
        preprocess=PLAIN,
        dtype=jnp.float32,
        spec=views.Spec(size=SIZE, heatmap=heatmap, **spec),
        expressions=toydata.EXPRESSIONS,
    )


def stub_batch(rows=6, seed=0):
    """Arrays with everything that can be missing: landmarks, labels, whole rows."""
    rng = np.random.default_rng(seed)
    batch = {
        "image": rng.integers(0, 256, (rows, SIZE, SIZE, 3)).astype(np.uint8),
        "image_erased": rng.integers(0, 256, (rows, SIZE, SIZE, 3)).astype(np.uint8),
        "erased_box": np.array([[2, 3, 5, 6], [0, 0, 0, 0], [0, 8, 16, 8]] * 2, np.int32)[:rows],
        "heatmap": rng.random((rows, SIZE, SIZE, 1)).astype(np.float32),
        "expression": np.array([0, 1, 2, -1, 2, 1], np.int32)[:rows],
        "mask": np.array([1, 1, 1, 1, 1, 0], bool)[:rows],
        "landmarks": np.zeros((rows, 68, 2), np.float32),
        "landmarks_valid": np.ones(rows, bool),
    }
    for i in NO_LANDMARKS:
        batch["landmarks"][i], batch["landmarks_valid"][i], batch["heatmap"][i] = np.nan, False, 0
    return batch


def value(options, batch, parts=None, params=None, state=None):
    """Loss, logged means, gradients and the model state after the step."""
    parts = parts or stub_parts()
    variables = method.init(jax.random.key(1), batch, parts=parts, options=options)
    params = variables["params"] if params is None else params
    state = {k: v for k, v in variables.items() if k != "params"} if state is None else state
    function = functools.partial(method.loss, parts=parts, options=options)
    (total, (new_state, sums)), gradients = jax.value_and_grad(function, has_aux=True)(
        params, state, batch, jax.random.key(2)
    )
    means = {name: float(s / max(float(n), 1)) for name, (s, n) in sums.items()}
    return float(total), means, gradients, new_state
