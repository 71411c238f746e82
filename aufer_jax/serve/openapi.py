"""The routes, and their description in OpenAPI 3.1."""

from typing import Any

import aufer_jax
from aufer_jax import facs
from aufer_jax.faces.shapes import SIDES
from aufer_jax.runs import Predictor
from aufer_jax.runs.prediction import SIDED
from aufer_jax.runs.table import BOX, POINTS, POSE
from aufer_jax.serve import answers, heat

# Path, method, and the name of what answers.
ROUTES = (
    ("/", "get", "page"),
    ("/v1/predict", "post", "predict"),
    ("/v1/heatmap", "post", "heatmap"),
    ("/v1/model", "get", "model"),
    ("/openapi.json", "get", "openapi"),
    ("/healthz", "get", "healthz"),
    ("/metrics", "get", "metrics_text"),
)
_UPLOAD = {
    400: "nothing was sent, or a parameter is not known",
    403: "sent by a page of another site",
    408: "the upload took too long",
    413: "the upload is too large",
    415: "neither a picture nor a clip",
    422: "damaged, too many pixels, or no face where one is needed",
    503: "too much is waiting; Retry-After says when to try again",
}
_FILE = {"type": "string", "format": "binary"}


def document(network: Predictor) -> dict[str, Any]:
    """The description of the API around this network."""
    told = {
        "page": _about("The page, for a browser", "text/html"),
        "predict": _predict(network),
        "heatmap": _heatmap(),
        "model": _about("The card of the network: classes, AUs, intended use", "application/json"),
        "openapi": _about("This description", "application/json"),
        "healthz": _about("Whether predictions can be made", "application/json", {503: "no"}),
        "metrics_text": _about("Counts, for Prometheus", "text/plain"),
    }
    paths: dict[str, Any] = {}
    for path, method, name in ROUTES:
        paths.setdefault(path, {})[method] = {"operationId": name, **told[name]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aufer serve",
            "version": aufer_jax.__version__,
            "summary": "Faces, expressions and action units of pictures and clips",
            "description": f"{answers.USE} {answers.NOT_FOR}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {"Error": _object({"error": {"type": "string"}}, "error")}},
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _about(told: str, media: str, others: dict[int, str] | None = None) -> dict[str, Any]:
    return {"summary": told, "responses": _responses({media: {}}, others or {})}


def _responses(content: dict[str, Any], others: dict[int, str]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {"200": {"description": "as wished", "content": content}}
    for status, told in others.items():
        found[str(status)] = {"description": told, "content": error}
    return found


def _query(name: str, schema: dict[str, Any], told: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": told}


def _enum(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), "default": values[0]}


def _body(*kinds: str) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {} for kind in kinds}
    form = {"multipart/form-data": {"schema": _object({"file": _FILE}, "file")}}
    return {"required": True, "content": content | form}


def _predict(network: Predictor) -> dict[str, Any]:
    row = _row(network)
    table = _object(
        {
            "model": {"type": "string"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
            "rows": {"type": "array", "items": row},
            "problems": {"type": "array", "items": {"type": "string"}},
            "mesh": {
                "type": "array",
                "description": "for each row 478 points, x and y by turns; null where there is no face",
                "items": {"type": ["array", "null"], "items": {"type": "number"}},
            },
        },
        "model", "width", "height", "rows", "problems",
    )  # fmt: skip
    media = {
        "application/json": {"schema": table},
        "text/csv": {},
        "application/x-ndjson": {},
    }
    return {
        "summary": "One row for each face of a picture, or of each frame of a clip",
        "parameters": [
            _query("format", _enum(*answers.FORMATS), "jsonl comes row by row, as they are known"),
            _query("mesh", _enum("0", "1"), "with json: also the 478 points of each face"),
        ],
        "requestBody": _body("image/*", "video/*", "application/octet-stream"),
        "responses": _responses(media, _UPLOAD),
    }


def _heatmap() -> dict[str, Any]:
    return {
        "summary": "A transparent PNG to lay over the picture: where AUs act, or ScoreCAM",
        "parameters": [
            _query("kind", _enum(*heat.KINDS), "aus: by landmarks and probabilities"),
            _query("face", {"type": "integer", "minimum": 0, "default": 0}, "which face"),
        ],
        "requestBody": _body("image/*", "application/octet-stream"),
        "responses": _responses({"image/png": {}}, _UPLOAD),
    }


def _row(network: Predictor) -> dict[str, Any]:
    """The columns of the table."""
    number, share = {"type": ["number", "null"]}, {"type": ["number", "null"], "maximum": 1}
    aus = [facs.AUS[au].label for au in network.aus]
    found: dict[str, Any] = {
        "file": {"type": "string"},
        "frame": {"type": "integer"},
        "time": {"type": "number", "description": "seconds"},
        "face": {"type": "integer", "description": "-1: no face"},
        **dict.fromkeys(BOX, number),
        "score": share,
    }
    if network.expressions:
        found |= {"label": {"type": "string"}, **dict.fromkeys(network.expressions, share)}
    found |= dict.fromkeys(aus, share)
    strength = {"type": ["number", "null"], "maximum": facs.MOST}
    if network.calibration.intensities:
        found |= {f"{name}_intensity": strength for name in aus}
    sides = [f"AU{au:02d}_{side}" for side in SIDES for au in SIDED if au in network.aus]
    found |= dict.fromkeys(sides, strength)
    return _object({**found, **dict.fromkeys((*POSE, *POINTS), number)}, "file", "frame", "face")
