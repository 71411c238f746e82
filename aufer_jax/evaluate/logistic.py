"""What a simple model reaches: logistic regression on the shape of a face, its aligned landmarks."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize

from aufer_jax.evaluate import intervals
from aufer_jax.geometry import align

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of which the validation split chooses one


def shapes(landmarks: Sequence[np.ndarray]) -> np.ndarray:
    """Features [N, F] of faces [68, 2] or of clips [T, 68, 2], whose mean and deviation over time they are.

    What is unknown is NaN.
    """
    clips = [np.asarray(points, np.float64).reshape(-1, 68, 2) for points in landmarks]
    out = [_of_clip(points) if points.shape[0] > 1 else _aligned(points)[0] for points in clips]
    if len({len(row) for row in out}) > 1:  # a clip of a single frame among others does not move
        out = [np.resize(np.append(row, 0 * row), max(map(len, out))) for row in out]
    return np.stack(out)


def _aligned(points: np.ndarray) -> np.ndarray:
    matrix = align.face_matrix(points, align.TEMPLATE_SIZE)
    flat = align.transform(points, matrix).reshape(len(points), -1)
    return np.where(np.isfinite(flat), flat, np.nan)


def _of_clip(points: np.ndarray) -> np.ndarray:
    flat = _aligned(points)
    known = np.isfinite(flat)
    count = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, flat, 0).sum(0) / count
        deviation = np.sqrt(np.where(known, (flat - mean) ** 2, 0).sum(0) / count)
    return np.concatenate([mean, deviation])


@dataclasses.dataclass(frozen=True)
class Regression:
    """A fitted model: features are standardised, unknown ones are the mean."""

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray  # [F + 1, C], the last row without a feature

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class [N] of each row."""
        return (_standard(features, self.mean, self.deviation) @ self.weights).argmax(1)


def _standard(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    scaled = np.nan_to_num((features - mean) / deviation)
    return np.append(scaled, np.ones((len(scaled), 1)), 1)


def fit(features: np.ndarray, labels: np.ndarray, classes: int, penalty: float) -> Regression:
    """The least mean cross-entropy, in which every class counts alike, plus penalty / 2 * |weights|^2."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, features, 0).sum(0) / count
    deviation = np.sqrt(np.where(known, (features - mean) ** 2, 0).sum(0) / count)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    x = _standard(features, mean, deviation)
    counts = np.bincount(labels, minlength=classes)
    weight = (1 / (counts[labels] * (counts > 0).sum()))[:, None]
    true = labels[:, None] == np.arange(classes)
    punished = penalty * np.append(np.ones(x.shape[1] - 1), 0.0)[:, None]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(-1, classes)
        logits = x @ w
        logits -= logits.max(1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        slope = x.T @ (weight * (np.exp(log_p) - true)) + punished * w
        return float(-(weight * log_p)[true].sum() + (punished * w * w).sum() / 2), slope.ravel()

    start = np.zeros(x.shape[1] * classes)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return Regression(mean, deviation, found.x.reshape(-1, classes))


def chosen(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], classes: int
) -> Regression:
    """Of the regressions fitted in training (features, labels), that with the best UAR on validation."""
    models = [fit(*train, classes, penalty) for penalty in PENALTIES]
    if not len(validation[1]):
        return models[1]
    scores = [
        intervals.uar(confusion(validation[1], model.predict(validation[0]), classes))
        for model in models
    ]
    return models[int(np.argmax(scores))]


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts [C, C], true classes in rows."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
