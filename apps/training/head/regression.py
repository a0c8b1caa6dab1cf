"""Multinomial logistic regression on features; its strength is chosen on validation photos."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import on_one_blas_thread
from edge_effnet.errors import require

Floats = NDArray[np.float64]
#: Candidates of C, the inverse of the L2 penalty's weight, per photo and in scaled features.
CANDIDATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_ITERATIONS = 200  # of L-BFGS
_SMALLEST = 1e-12


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier: logits = features @ weight.T + bias.

    Attributes:
        weight: float64 [classes, channels].
        bias: float64 [classes].
    """

    weight: Floats
    bias: Floats

    def probabilities(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Softmax probabilities, float32 [photos, classes], of features [photos, channels]."""
        return _softmax(features @ self.weight.T + self.bias).astype(np.float32)

    def loss(self, features: NDArray[Any], labels: NDArray[np.int64]) -> float:
        """Mean cross-entropy in nats on features [photos, channels]."""
        of_label = self.probabilities(features)[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(of_label.astype(np.float64), _SMALLEST)).mean())


@dataclass(frozen=True)
class Candidate:
    """One candidate of C with its classifier.

    Attributes:
        c: Inverse of the L2 penalty's weight.
        head: The classifier.
        train_loss: Mean cross-entropy on the training photos in nats.
        val_loss: Mean cross-entropy on the validation photos in nats.
        val_top1: Top-1 accuracy on the validation photos, 0..1.
        seconds: Duration of the fit.
    """

    c: float
    head: LinearHead
    train_loss: float
    val_loss: float
    val_top1: float
    seconds: float


@on_one_blas_thread
def candidates(
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    val: tuple[NDArray[np.float32], NDArray[np.int64]],
    classes: int,
    *,
    balanced: bool,
    prior: LinearHead | None,
    progress: Callable[[int, int], None],
) -> list[Candidate]:
    """A classifier for each of `CANDIDATES`, from strong to weak regularisation.

    Args:
        train: Features [photos, views, channels] and class indices [photos].
        val: Features [photos, channels] and class indices [photos].
        classes: Number of classes.
        balanced: Whether every class has the same total weight in the loss.
        prior: Classifier that the penalty pulls towards; None for zero.
        progress: Called with candidates done and in all.
    """
    results = []
    for index, c in enumerate(CANDIDATES):
        start = time.monotonic()
        head = fit(*train, classes, c, balanced=balanced, prior=prior)
        of_val = head.probabilities(val[0])
        results.append(
            Candidate(
                c,
                head,
                head.loss(train[0][:, 0], train[1]),
                head.loss(*val),
                float((of_val.argmax(axis=1) == val[1]).mean()),
                time.monotonic() - start,
            )
        )
        progress(index + 1, len(CANDIDATES))
    return results


def best(results: list[Candidate]) -> Candidate:
    """The candidate with the smallest validation loss; the strongest regularisation of equals."""
    return min(results, key=lambda candidate: (candidate.val_loss, candidate.c))


@on_one_blas_thread
def fit(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    c: float,
    *,
    balanced: bool = False,
    prior: LinearHead | None = None,
) -> LinearHead:
    """The classifier that minimises cross-entropy plus an L2 penalty.

    Features are centred and divided by their mean standard deviation, so that C means the same for
    every network. The result includes this scaling.

    Args:
        features: float32 [photos, views, channels]; a photo's views share its weight.
        labels: Class indices [photos]; every class occurs.
        classes: Number of classes.
        c: Inverse of the L2 penalty's weight.
        balanced: Whether every class has the same total weight.
        prior: Classifier that the penalty pulls towards; None for zero.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    views = features.shape[1]
    rows = features.reshape(-1, features.shape[2]).astype(np.float64)
    targets = np.repeat(labels, views)
    mean = rows.mean(axis=0)
    scale = float(rows.std(axis=0).mean()) or 1.0
    rows = (rows - mean) / scale
    weights = np.full(len(targets), 1 / views)
    if balanced:
        weights *= (len(labels) / classes / np.bincount(labels, minlength=classes))[targets]
    if prior is None:
        weight, bias = _logistic_regression(rows, targets, weights, c)
    else:
        start = LinearHead(prior.weight * scale, prior.bias + prior.weight @ mean)
        weight, bias = _towards(start, rows, targets, weights, c)
    weight = weight / scale
    return LinearHead(weight, bias - weight @ mean)


def _logistic_regression(
    rows: Floats, targets: NDArray[np.int64], weights: Floats, c: float
) -> tuple[Floats, Floats]:
    """Weight and bias by scikit-learn."""
    linear_model = require("sklearn.linear_model", "export")
    regression = linear_model.LogisticRegression(C=c, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 200 iterations are enough for the loss, if not for C = 3
        regression.fit(rows, targets, weights)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # two classes: one logit, the difference of two
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _towards(
    prior: LinearHead, rows: Floats, targets: NDArray[np.int64], weights: Floats, c: float
) -> tuple[Floats, Floats]:
    """As `_logistic_regression`, with the penalty |weight - prior.weight|^2 / 2."""
    optimize = require("scipy.optimize", "export")
    classes, channels = prior.weight.shape
    one_hot = np.eye(classes)[targets]

    def objective(values: Floats) -> tuple[float, Floats]:
        change = values.reshape(classes, channels + 1)
        weight, bias = prior.weight + change[:, :-1], prior.bias + change[:, -1]
        probabilities = _softmax(rows @ weight.T + bias)
        of_target = np.maximum(probabilities[np.arange(len(targets)), targets], _SMALLEST)
        loss = (
            c * float(-(weights * np.log(of_target)).sum()) + float((change[:, :-1] ** 2).sum()) / 2
        )
        difference = c * weights[:, None] * (probabilities - one_hot)
        gradient = np.column_stack([difference.T @ rows + change[:, :-1], difference.sum(axis=0)])
        return loss, gradient.ravel()

    result = optimize.minimize(
        objective,
        np.zeros(classes * (channels + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS},
    )
    change = result.x.reshape(classes, channels + 1)
    return prior.weight + change[:, :-1], prior.bias + change[:, -1]


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
