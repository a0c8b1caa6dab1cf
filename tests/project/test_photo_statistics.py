"""The bars of the accuracy tests: right code passes by chance, wrong code does not."""

from __future__ import annotations

import numpy as np
import pytest

from support.photo_statistics import paired, reaches, standard_error


def hits(right: int, count: int) -> np.ndarray:
    return np.arange(count) < right


def test_standard_error_of_a_share() -> None:
    assert standard_error(0.984, 1025) == pytest.approx(0.00392, abs=1e-5)
    assert standard_error(1.0, 10) == 0


def test_a_share_may_lie_two_standard_errors_below_its_aim() -> None:
    assert reaches(hits(1001, 1025), 0.984)  # 97.66 %
    assert not reaches(hits(1000, 1025), 0.984)


def test_a_right_share_passes_and_a_wrong_one_fails_whatever_the_sample() -> None:
    """Ten thousand samples of 650 photos: 98.5 % agree where 98 % is the aim, or 94 %."""
    rng = np.random.default_rng(0)
    for share, least, most in ((0.985, 0.998, 1.0), (0.94, 0.0, 0.01)):
        passed = np.mean(
            [reaches(hits(right, 650), 0.98) for right in rng.binomial(650, share, 10_000)]
        )
        assert least <= passed <= most


def test_photos_that_both_answer_alike_add_no_error() -> None:
    one, other = hits(800, 1000), hits(796, 1000)
    found = paired(one, other)
    assert found.points == pytest.approx(0.4)
    assert found.standard_error == pytest.approx(100 * np.sqrt(0.004 * 0.996 / 1000))
    assert paired(one, one) == type(found)(0.0, 0.0)
    assert found.at_most(0.1)
    assert not found.at_most(-0.1)
    assert not paired(one, hits(780, 1000)).at_most(0.5)
