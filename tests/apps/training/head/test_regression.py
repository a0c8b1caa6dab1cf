"""Logistic regression: scaling, weights of photos, two classes, and a prior."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet.apps.training.head.regression import Candidate, LinearHead, best, candidates, fit


def blobs(
    classes: int, count: int, channels: int = 12, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Overlapping classes: features [photos, 1 view, channels] around a centre per class."""
    centres = np.random.default_rng(1).normal(size=(classes, channels))
    labels = np.repeat(np.arange(classes), count)
    noise = np.random.default_rng(seed).normal(size=(len(labels), channels))
    return (centres[labels] + noise).astype(np.float32)[:, None], labels


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_classifies_new_points(classes: int) -> None:
    head = fit(*blobs(classes, 60), classes, 1.0)
    features, labels = blobs(classes, 60, seed=5)
    probabilities = head.probabilities(features[:, 0])
    assert head.weight.shape == (classes, 12)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.8


def test_scaling_and_shifting_the_features_changes_nothing() -> None:
    features, labels = blobs(3, 40)
    first = fit(features, labels, 3, 0.1)
    other = fit(features * 100 + 7, labels, 3, 0.1)
    assert np.allclose(
        first.probabilities(features[:, 0]),
        other.probabilities(features[:, 0] * 100 + 7),
        atol=2e-3,
    )


def test_equal_views_count_like_one() -> None:
    features, labels = blobs(3, 30)
    one = fit(features, labels, 3, 0.3)
    two = fit(np.repeat(features, 2, axis=1), labels, 3, 0.3)
    assert np.allclose(one.weight, two.weight, atol=1e-3)


def test_balancing_finds_more_of_the_rare_class() -> None:
    features, labels = blobs(2, 200, channels=2)
    rare = np.r_[np.arange(200), np.arange(200, 210)]
    plain = fit(features[rare], labels[rare], 2, 0.1)
    balanced = fit(features[rare], labels[rare], 2, 0.1, balanced=True)
    of_rare = features[200:, 0]
    assert (balanced.probabilities(of_rare).argmax(axis=1) == 1).mean() > (
        plain.probabilities(of_rare).argmax(axis=1) == 1
    ).mean()


def test_a_zero_prior_is_no_prior() -> None:
    features, labels = blobs(3, 30)
    zero = LinearHead(np.zeros((3, 12)), np.zeros(3))
    plain, towards = fit(features, labels, 3, 0.1), fit(features, labels, 3, 0.1, prior=zero)
    assert np.allclose(
        plain.probabilities(features[:, 0]), towards.probabilities(features[:, 0]), atol=5e-3
    )


def test_a_strong_penalty_returns_the_prior() -> None:
    features, labels = blobs(3, 30)
    prior = LinearHead(np.random.default_rng(2).normal(size=(3, 12)), np.zeros(3))
    kept = fit(features, labels, 3, 1e-9, prior=prior)
    assert np.allclose(kept.weight, prior.weight, atol=1e-4)


def test_the_smallest_validation_loss_wins() -> None:
    train, val = blobs(4, 12, channels=60), blobs(4, 50, channels=60, seed=9)
    results = candidates(
        train,
        (val[0][:, 0], val[1]),
        4,
        balanced=False,
        prior=None,
        progress=lambda done, total: None,
    )
    losses = [candidate.val_loss for candidate in results]
    assert best(results).val_loss == min(losses)
    assert losses[0] > min(losses)  # the strongest regularisation is too strong
    train_losses = [candidate.train_loss for candidate in results]
    assert train_losses == sorted(train_losses, reverse=True)
    head = results[0].head
    equal = [Candidate(c, head, 1, 1, 1, 0) for c in (3.0, 0.1, 1.0)]
    assert best(equal).c == 0.1
