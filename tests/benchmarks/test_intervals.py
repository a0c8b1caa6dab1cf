from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.benchmarks.intervals import paired_difference, round_ratio
from edge_effnet.statistics import wilson

totals = st.integers(1, 100_000)


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, int]:
    total = draw(totals)
    return draw(st.integers(0, total)), total


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int, int]:
    total = draw(totals)
    lost = draw(st.integers(0, total))
    return lost, draw(st.integers(0, total - lost)), total


@given(shares())
def test_wilson_contains_the_share_and_stays_inside(share: tuple[int, int]) -> None:
    hits, total = share
    low, high = wilson(hits, total)
    assert 0 <= low <= hits / total <= high <= 1
    assert high - low > 0


@given(shares())
def test_wilson_mirrors(share: tuple[int, int]) -> None:
    hits, total = share
    low, high = wilson(hits, total)
    mirrored = wilson(total - hits, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_known_value() -> None:
    # Agresti & Coull 1998: 9 of 10 -> (0.596, 0.982)
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=5e-5)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_wilson_covers_95_percent(share: float) -> None:
    total = 400
    covered = sum(
        math.comb(total, hits) * share**hits * (1 - share) ** (total - hits)
        for hits in range(total + 1)
        if (lambda ends: ends[0] <= share <= ends[1])(wilson(hits, total))
    )
    assert 0.93 < covered < 0.98


@given(pairs())
def test_paired_contains_the_difference_and_stays_inside(pair: tuple[int, int, int]) -> None:
    lost, gained, total = pair
    low, high = paired_difference(lost, gained, total)
    assert -1 <= low <= (lost - gained) / total <= high <= 1
    assert high - low > 0


@given(pairs())
def test_paired_is_antisymmetric(pair: tuple[int, int, int]) -> None:
    lost, gained, total = pair
    low, high = paired_difference(lost, gained, total)
    assert paired_difference(gained, lost, total) == pytest.approx((-high, -low), abs=1e-12)


def test_paired_known_value() -> None:
    # By hand: (11 - 3) / 102 +- z sqrt((11 + 3) / 102 - (8 / 102)^2) / sqrt(102)
    assert paired_difference(10, 2, 100) == pytest.approx((0.00818, 0.14868), abs=5e-5)


def test_paired_is_narrower_than_two_separate_samples() -> None:
    low, high = paired_difference(7, 3, 1000)
    separate = 2 * 1.96 * math.sqrt(2 * 0.9 * 0.1 / 1000)
    assert high - low < separate / 2


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="share"):
        wilson(*arguments)


@pytest.mark.parametrize("arguments", [(0, 0, 0), (3, 3, 5), (-1, 0, 5)])
def test_paired_refuses(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        paired_difference(*arguments)


def test_a_slow_round_changes_no_ratio() -> None:
    """Each file's time in a round, twice: the machine is 10 times slower in the second one."""
    base = (4.0, 4.0, 40.0, 40.0, 4.0, 4.0)
    assert round_ratio([each / 2 for each in base], base, 3) == (0.5, 0.5, 0.5)
    low, middle, high = round_ratio((1.0, 1.0, 20.0, 20.0, 4.0, 4.0), base, 3)
    assert (low, middle, high) == pytest.approx((0.375, 0.5, 0.75))
