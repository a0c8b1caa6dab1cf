"""Accuracy of sets of labels: average precision, F1, agreement."""

from __future__ import annotations

import numpy as np
import pytest

from edge_effnet.benchmarks.accuracy.label_sets import (
    accuracy_fields,
    average_precisions,
    f1,
    mean_average_precision,
)
from edge_effnet.benchmarks.accuracy.predictions import Predictions


def random_sets(
    photos: int = 60, labels: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that know something of the truth, and the scores of a worse file."""
    rng = np.random.default_rng(seed)
    truth = rng.random((photos, labels)) < 0.3
    scores = np.clip(0.3 * truth + rng.random(truth.shape), 0, 1).astype(np.float32)
    worse = np.clip(scores + rng.normal(0, 0.2, truth.shape), 0, 1).astype(np.float32)
    return scores, worse, truth


def predictions(scores: np.ndarray) -> Predictions:
    best = np.argsort(-scores, axis=1)[:, :5].astype(np.int32)
    return Predictions(best, np.take_along_axis(scores, best, 1), scores)


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, _, truth = random_sets()
    for values in (scores, np.round(scores, 1)):  # with ties
        expected = [metrics.average_precision_score(truth[:, n], values[:, n]) for n in range(5)]
        assert average_precisions(values, truth) == pytest.approx(expected)
    assert f1(scores >= 0.5, truth) == pytest.approx(
        metrics.f1_score(truth, scores >= 0.5, average="micro")
    )


def test_weights_count_photos_again() -> None:
    scores, _, truth = random_sets()
    weights = np.random.default_rng(1).integers(0, 3, (2, len(scores)))
    found = average_precisions(scores, truth, weights)
    for row, counts in zip(found, weights, strict=True):
        again = np.repeat(np.arange(len(scores)), counts)
        assert row == pytest.approx(average_precisions(scores[again], truth[again]))


def test_labels_that_no_photo_has_do_not_count() -> None:
    truth = np.array([[True, False], [False, False]])
    scores = np.array([[0.9, 0.8], [0.1, 0.7]], np.float32)
    assert mean_average_precision(scores, truth) == 1.0
    assert accuracy_fields(predictions(scores), truth, 0.5, None)["class_ap"] == (1.0, None)
    assert f1(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1.0


def test_figures_of_a_file_and_its_reference() -> None:
    scores, worse, truth = random_sets()
    found = accuracy_fields(predictions(worse), truth, 0.4, predictions(scores))
    same = ((scores >= 0.4) == (worse >= 0.4)).all(axis=1)
    assert found["agreement"] == same.mean()
    assert 0 < found["agreement"] < 1
    gap = mean_average_precision(scores, truth) - mean_average_precision(worse, truth)
    assert found["drop"] == pytest.approx(100 * gap)
    low, high = found["drop_ci"]
    assert low < found["drop"] < high
    low, high = found["mean_ap_ci"]
    assert low < found["mean_ap"] < high
    assert found["class_images"] == tuple(truth.sum(axis=0))
    assert found["class_right"] == tuple((truth & (worse >= 0.4)).sum(axis=0))
    assert found["threshold"] == 0.4
    assert accuracy_fields(predictions(worse), truth, 0.4, predictions(scores)) == found  # seeded
    alike = accuracy_fields(predictions(scores), truth, 0.4, predictions(scores))
    assert (alike["agreement"], alike["drop"], alike["drop_ci"]) == (1.0, 0.0, (0.0, 0.0))


def test_a_photo_without_an_answer_does_not_agree() -> None:
    scores = np.zeros((2, 3), np.float32)
    broken = predictions(scores)
    broken.indices[0] = -1
    assert accuracy_fields(broken, None, 0.5, predictions(scores))["agreement"] == 0.5
    assert "mean_ap" not in accuracy_fields(broken, None, 0.5, None)
