"""The ECE of right probabilities, computed and simulated, and what a wrong one looks like."""

from __future__ import annotations

import numpy as np
import pytest

from edge_effnet.apps.training.metrics import expected_calibration_error
from edge_effnet.apps.training.run_page.reliability import reliability


@pytest.mark.parametrize(("photos", "low"), [(200, 0.3), (200, 0.8), (2000, 0.2)])
def test_the_ece_of_right_probabilities_is_as_in_a_simulation(photos: int, low: float) -> None:
    rng = np.random.default_rng(3)
    confidences = rng.uniform(low, 1, photos)
    eces = [
        expected_calibration_error(confidences, rng.uniform(size=photos) < confidences)
        for _ in range(400)
    ]
    measured = reliability(confidences, rng.uniform(size=photos) < confidences)
    assert measured is not None
    assert measured.expected == pytest.approx(np.mean(eces), rel=0.08)
    assert measured.limit == pytest.approx(np.quantile(eces, 0.95), rel=0.12)
    assert np.mean([ece <= measured.limit for ece in eces]) == pytest.approx(0.95, abs=0.04)


def test_probabilities_that_are_too_high_or_too_low() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(0.5, 1, 1000)
    right = rng.uniform(size=1000) < truth
    for confidences, overconfident in (
        (np.minimum(1, truth + 0.15), True),
        (truth - 0.2, False),
        (np.where(rng.uniform(size=1000) < 0.5, truth + 0.2, truth - 0.2).clip(0, 1), None),
    ):
        measured = reliability(confidences, right)
        assert measured is not None
        assert not measured.plausible
        assert measured.overconfident is overconfident
    fitting = reliability(truth, right)
    assert fitting is not None
    assert fitting.plausible


def test_bins_count_each_photo_once() -> None:
    confidences = np.array([0.0, 1 / 15, 0.5, 1.0, 1.0])
    measured = reliability(confidences, np.array([False, True, True, True, False]))
    assert measured is not None
    assert [(one.photos, one.accuracy) for one in measured.bins] == [(2, 0.5), (1, 1.0), (2, 0.5)]
    assert all(one.low <= one.confidence <= one.high for one in measured.bins)
    assert sum(
        one.photos * abs(one.accuracy - one.confidence) for one in measured.bins
    ) / 5 == pytest.approx(measured.ece)
    assert reliability(np.array([]), np.array([], bool)) is None
