"""A trained network as one file that needs nothing of this library: StableHLO for JAX, or ONNX.

The file reads pixels of aligned faces and gives probabilities; what else must be known to use it, such as
where eyes and mouth belong, is in a card beside it, a .json. It computes in float32.
"""

import contextlib
import dataclasses
import importlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

import aufer_jax
from aufer_jax.data import heatmaps, records
from aufer_jax.errors import UserError, unknown
from aufer_jax.geometry import align
from aufer_jax.models import ops
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import base

FORMATS = ("stablehlo", "onnx")
PLATFORMS = ("cpu", "cuda", "tpu")  # on which StableHLO runs
OUTPUTS = ("expression", "expression_probability", "au", "au_probability", "features")

_MADE = ("id", "heatmap", "landmarks_valid")  # of a batch, from what a file reads
_OUTSIDE = {"black": "black", "edge": "as the picture's edge, without its black bars"}
_OPSET = 20  # of ONNX, known to onnxruntime since 1.18
_FLOAT32 = "float32"


def write(network: Predictor, path: str | pathlib.Path, format: str = FORMATS[0]) -> pathlib.Path:
    """Writes the network as `path`, which must end with the format's name, and its card beside it."""
    path = pathlib.Path(path).expanduser()
    check(path, format)
    if not network.aus:
        network.need_classes("export")
    network = in_float32(network)
    path.parent.mkdir(parents=True, exist_ok=True)
    make = _stablehlo if format == "stablehlo" else _onnx
    path.write_bytes(make(network))
    told = json.dumps(card(network, format), indent=2, ensure_ascii=False)
    beside(path).write_text(told + "\n", encoding="utf-8")
    return path


def beside(path: pathlib.Path) -> pathlib.Path:
    """Where the card of a file is."""
    return path.with_name(f"{path.name}.json")


def check(path: pathlib.Path, format: str) -> None:
    """Raises where such a file cannot be written; quick, unlike loading a run."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if path.suffix != f".{format}":
        raise UserError(f"out: {str(path)!r}, a file of format {format!r} must end with .{format}")
    if format == "onnx":
        _extra("jax2onnx", "onnx")


def load(path: str | pathlib.Path) -> tuple[Callable[..., dict[str, np.ndarray]], dict[str, Any]]:
    """What `write` wrote: a function of pixels (and landmarks) that gives outputs by name, and the card."""
    path = pathlib.Path(path).expanduser()
    for file in (path, beside(path)):
        if not file.exists():
            raise UserError(f"export: no file {str(file)!r}")
    told = json.loads(beside(path).read_text(encoding="utf-8"))
    if told["format"] == "stablehlo":
        program = jax.export.deserialize(bytearray(path.read_bytes())).call

        def run(*inputs: np.ndarray) -> dict[str, np.ndarray]:
            return jax.device_get(program(*inputs))

        return run, told
    session = _extra("onnxruntime", "onnx").InferenceSession(str(path))
    names = [given.name for given in session.get_outputs()]
    reads = [given.name for given in session.get_inputs()]

    def infer(*inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(
            zip(names, session.run(names, dict(zip(reads, inputs, strict=True))), strict=True)
        )

    return infer, told


def card(network: Predictor, format: str) -> dict[str, Any]:
    """What must be known of the file to use it, for its .json."""
    spec, inputs = network.inference.spec, _inputs(network)
    shapes = {name: ["batch", *shape.shape[1:]] for name, shape in inputs.items()}
    told: dict[str, Any] = {
        "format": format,
        "made_by": f"aufer_jax {aufer_jax.__version__}",
        "name": network.name,
        "step": network.step,
        "platforms": PLATFORMS if format == "stablehlo" else ["cpu", "cuda"],
        "inputs": {
            name: {"dtype": str(x.dtype), "shape": shapes[name]} for name, x in inputs.items()
        },
        "pixels": {
            "colours": "RGB",
            "range": [0, 255],
            "face": "moved, turned and scaled (least squares) so that its five points come to `points`, "
            f"bilinear; outside {_OUTSIDE[spec.fill]}",
            "points": align.template(spec.size, network.margin).round(4).tolist(),
            "points_are": [
                "left eye",
                "right eye",
                "nose tip",
                "left mouth corner",
                "right mouth corner",
            ],
            "left_and_right": "as seen in the picture; (x, y), the first pixel's centre is (0, 0)",
            "margin": network.margin,
        },
        "expressions": network.expressions,
        "aus": network.aus,
        "outputs": {name: ["batch", *network.shapes[name].shape[1:]] for name in _given(network)},
    }
    if network.reads_heatmap:
        told["landmarks"] = "iBUG's 68 points (x, y) in the pixels of the input; NaN where unknown"
    if spec.clip:
        told["clip"] = dataclasses.asdict(spec.clip)
    return told


# --- The program --------------------------------------------------------------------------------


def _inputs(network: Predictor) -> dict[str, jax.ShapeDtypeStruct]:
    """The inputs in order, for a batch of one: pixels, landmarks for a heatmap, what else it reads."""
    spec = network.inference.spec
    frames = (spec.clip.count(train=False),) if spec.clip else ()
    pixels = np.zeros((1, *frames, spec.size, spec.size, 3), np.uint8)
    read = {name: x for name, x in network.example(pixels).items() if name not in _MADE}
    inputs = {"pixels": read.pop(network.kind)}
    if network.reads_heatmap:
        inputs["landmarks"] = np.zeros((1, records.LANDMARKS, 2), np.float32)
    return {n: jax.ShapeDtypeStruct(x.shape, x.dtype) for n, x in (inputs | read).items()}


def _given(network: Predictor) -> list[str]:
    """The outputs in order."""
    return sorted(name for name in OUTPUTS if name in network.shapes)


def _function(network: Predictor, platform: str) -> Callable[..., base.Outputs]:
    """parameters, model state, inputs -> outputs, as `platform` runs them fastest."""
    spec, given, (_, *names) = network.inference.spec, _given(network), _inputs(network)

    def run(params: Any, model_state: Any, pixels: jax.Array, *others: jax.Array) -> base.Outputs:
        batch = dict(zip(names, others, strict=True)) | {network.kind: pixels}
        if network.reads_heatmap:
            points = batch["landmarks"]
            batch["landmarks_valid"] = heatmaps.drawable(points, jnp)
            batch["heatmap"] = heatmaps.draw(points, spec.heatmap, spec.size, jnp)[0]
        with ops.traced_for(platform):
            outputs = network.outputs(params, model_state, batch)
        return {name: outputs[name] for name in given}

    return run


def _stablehlo(network: Predictor) -> bytes:
    """One program for all platforms: that of CPUs and the plain one of the others side by side."""
    batch = jax.export.SymbolicScope()

    def symbolic(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        shape = ", ".join(["batch", *map(str, x.shape[1:])])
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape, scope=batch), x.dtype)

    variables = (network.params, network.model_state)

    @jax.jit
    def run(*inputs: jax.Array) -> base.Outputs:
        return jax.lax.platform_dependent(
            *variables, *inputs, cpu=_function(network, "cpu"), default=_function(network, "cuda")
        )

    inputs = [symbolic(x) for x in _inputs(network).values()]
    return bytes(jax.export.export(run, platforms=PLATFORMS)(*inputs).serialize())


def _onnx(network: Predictor) -> bytes:
    converter = _extra("jax2onnx", "onnx")
    inputs, function = _inputs(network), _function(network, "onnx")

    def run(*given: jax.Array) -> list[jax.Array]:
        outputs = function(network.params, network.model_state, *given)
        return [outputs[name] for name in _given(network)]

    with _quiet():
        model = converter.to_onnx(
            run,
            [jax.ShapeDtypeStruct(("batch", *x.shape[1:]), x.dtype) for x in inputs.values()],
            model_name=network.name,
            opset=_OPSET,
            input_names=list(inputs),
            output_names=_given(network),
        )
    return model.SerializeToString()


def in_float32(network: Predictor) -> Predictor:
    """The same network, computing in float32 whatever its run computed in."""
    run = network.run
    if run is None or run.train.compute_dtype == _FLOAT32:
        return network
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, compute_dtype=_FLOAT32))
    return dataclasses.replace(network, run=run, inference=base.inference(run, network.labels))


def _extra(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"export: {module} is not installed: pip install 'aufer-jax[{extra}]'"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's notes about shapes."""
    noisy = logging.getLogger("onnx_ir")
    before = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        yield
    finally:
        noisy.setLevel(before)
