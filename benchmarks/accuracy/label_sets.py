"""Accuracy of multi-label networks: mean average precision, F1, agreement of sets of labels.

Scores are float32 [photos, labels], truth and decisions bool of the same shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy.predictions import Predictions
from edge_effnet.statistics import Interval, wilson

Sets = NDArray[np.bool_]
Scores = NDArray[np.float32]

#: Number of bootstrap draws, and the largest number of their weights in memory at a time.
_DRAWS, _MOST_WEIGHTS = 200, 1 << 22


def scores_of(predictions: Predictions) -> Scores:
    """The probabilities of all labels; raises `ValueError` for predictions of one class."""
    if predictions.scores is None:
        raise ValueError("these are predictions of one class, not of labels")
    return predictions.scores


def average_precisions(
    scores: Scores, truth: Sets, weights: NDArray[np.integer[Any]] | None = None
) -> NDArray[np.float64]:
    """Average precision of each label, [labels] or [draws, labels]; NaN without a positive photo.

    Area under the step-wise precision-recall curve without interpolation, as in scikit-learn's
    ``average_precision_score``. Photos with equal scores share one threshold.

    Args:
        scores: Probabilities of the labels.
        truth: The labels that apply.
        weights: Number of times that each photo counts, [draws, photos].
    """
    counts = np.ones((1, len(scores)), np.int64) if weights is None else weights
    precisions = np.full((len(counts), scores.shape[1]), np.nan)
    for label in range(scores.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        values = scores[order, label]
        ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
        drawn = counts[:, order]
        positives = (drawn * truth[order, label]).cumsum(axis=1)[:, ends]
        precision = positives / np.maximum(drawn.cumsum(axis=1)[:, ends], 1)
        gained = np.diff(positives, prepend=0, axis=1)
        total = np.where(positives[:, -1], positives[:, -1], np.nan)
        precisions[:, label] = (gained * precision).sum(axis=1) / total
    return precisions[0] if weights is None else precisions


def mean_average_precision(scores: Scores, truth: Sets) -> float:
    """Mean of `average_precisions` over the labels with positive photos; 0 without such labels."""
    values = average_precisions(scores, truth)
    return 0.0 if np.isnan(values).all() else float(np.nanmean(values))


def f1(decisions: Sets, truth: Sets) -> float:
    """Micro-averaged F1 of all decisions; 1 if no label is true and none is predicted."""
    right = int((decisions & truth).sum())
    total = int(decisions.sum() + truth.sum())
    return 1.0 if total == 0 else 2 * right / total


def accuracy_fields(
    predictions: Predictions, truth: Sets | None, threshold: float, against: Predictions | None
) -> dict[str, Any]:
    """Fields of a `Record`: accuracy if there is a ``truth``, agreement if a reference.

    Agreement is the fraction of photos with the same set of labels. The drop is in percentage
    points of mean average precision. Its interval comes from a paired bootstrap over the photos.
    """
    scores, reference = scores_of(predictions), None if against is None else scores_of(against)
    decisions = scores >= threshold
    fields: dict[str, Any] = {"threshold": threshold}
    if reference is not None:
        finite = predictions.indices[:, 0] >= 0
        same = int(((decisions == (reference >= threshold)).all(axis=1) & finite).sum())
        fields |= {"agreement": same / len(scores), "agreement_ci": wilson(same, len(scores))}
    if truth is None:
        return fields
    each = average_precisions(scores, truth)
    draws = _drawn(scores, truth)
    fields |= {
        "mean_ap": mean_average_precision(scores, truth),
        "mean_ap_ci": _interval(draws),
        "f1": f1(decisions, truth),
        "class_images": tuple(truth.sum(axis=0).tolist()),
        "class_right": tuple((truth & decisions).sum(axis=0).tolist()),
        "class_ap": tuple(None if np.isnan(value) else float(value) for value in each),
    }
    if reference is not None:
        drop = mean_average_precision(reference, truth) - fields["mean_ap"]
        low, high = _interval(_drawn(reference, truth) - draws)
        fields |= {"drop": 100 * drop, "drop_ci": (100 * low, 100 * high)}
    return fields


def _drawn(scores: Scores, truth: Sets) -> NDArray[np.float64]:
    """Mean average precision on each bootstrap sample of the photos, [draws].

    The samples are seeded, so they are the same for every file and differences are paired.
    """
    random = np.random.default_rng(0)
    photos = len(scores)
    at_once = max(1, _MOST_WEIGHTS // photos)
    parts = []
    for start in range(0, _DRAWS, at_once):
        count = min(at_once, _DRAWS - start)
        weights = random.multinomial(photos, np.full(photos, 1 / photos), count)
        values = average_precisions(scores, truth, weights)
        known = ~np.isnan(values)
        parts.append(np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    return np.concatenate(parts)


def _interval(draws: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
