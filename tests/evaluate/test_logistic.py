"""Logistic regression against scikit-learn's numbers, and the shapes of faces that it reads."""

import numpy as np
import toydata

from aufer_jax.evaluate import intervals, logistic
from aufer_jax.geometry import align

X = np.stack([np.sin(np.arange(12)), np.cos(2 * np.arange(12))], 1)
Y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2])


def test_the_weights_are_scikit_learns():
    """LogisticRegression(C=1 / (0.05 * 12), class_weight="balanced") of standardised features, 1.9.1."""
    weights = logistic.fit(X, Y, 3, 0.05).weights
    weights = weights - weights.mean(1, keepdims=True)
    expected = [[0.1719, 0.9027, -1.0747], [-0.1275, 0.2931, -0.1656], [0.3156, 0.0887, -0.4043]]
    np.testing.assert_allclose(weights, expected, atol=2e-3)
    said = logistic.fit(X, Y, 3, 0.05).predict(X)
    assert said.tolist() == [1, 1, 1, 1, 2, 2, 0, 1, 1, 1, 2, 2]


def test_what_is_unknown_is_the_mean_and_the_penalty_is_chosen():
    holes = np.where(np.arange(24).reshape(12, 2) % 7 == 0, np.nan, X)
    assert np.isfinite(logistic.fit(holes, Y, 3, 0.1).weights).all()
    best = logistic.chosen((X, Y), (X, Y), 3)
    scores = [
        intervals.uar(logistic.confusion(Y, logistic.fit(X, Y, 3, p).predict(X), 3))
        for p in logistic.PENALTIES
    ]
    assert intervals.uar(logistic.confusion(Y, best.predict(X), 3)) == max(scores)


def test_shapes_do_not_depend_on_where_and_how_large_a_face_is():
    face = toydata.FACE_LANDMARKS
    turned = align.transform(face, np.array([[0, -2.0, 300.0], [2.0, 0, -40.0]]))
    a, b = logistic.shapes([face, turned])
    np.testing.assert_allclose(a, b, atol=1e-6)
    still = logistic.shapes([np.stack([face] * 3)])[0]
    np.testing.assert_allclose(still, np.append(a, 0 * a), atol=1e-6)
    unknown = np.full((3, 68, 2), np.nan)
    unknown[1] = face
    np.testing.assert_allclose(logistic.shapes([unknown])[0], still, atol=1e-6)
