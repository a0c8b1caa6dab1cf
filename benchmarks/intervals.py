"""Intervals: the difference of two paired fractions, a median, and a ratio of times over rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_effnet.statistics import Z95, Interval


def paired_difference(lost: int, gained: int, total: int, z: float = Z95) -> Interval:
    """Interval of ``(lost - gained) / total`` within -1..1, by the adjusted Wald method.

    Only discordant photos carry information, so the interval is far narrower than that of two
    independent samples. Source: D. G. Bonett, R. M. Price, Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data, J. Educ. Behav. Stat. 37(4), 2012.

    Args:
        lost: Number of photos that only the first of two classifiers classifies correctly.
        gained: Number of photos that only the second one classifies correctly.
        total: Number of photos that both classified.
        z: Normal quantile of the confidence level.

    Raises:
        ValueError: The counts are negative or exceed ``total``, or ``total`` is 0.
    """
    if lost < 0 or gained < 0 or lost + gained > total or total == 0:
        raise ValueError(f"{lost} lost and {gained} gained do not fit into {total}")
    first, second = (lost + 1) / (total + 2), (gained + 1) / (total + 2)
    centre = first - second
    half = z * math.sqrt(max(0.0, first + second - centre * centre) / (total + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def bootstrap_median(rounds: Sequence[Sequence[float]], draws: int = 1000) -> Interval | None:
    """95 % percentile bootstrap interval of the median of times measured in ``rounds``.

    Whole rounds are resampled because times within a round are correlated (block bootstrap, Efron
    and Tibshirani 1993, chapter 8). The resampling is seeded.

    Args:
        rounds: Times of each round.
        draws: Number of bootstrap samples.

    Returns:
        (low, high) in the unit of the times; None for fewer than two rounds.
    """
    import numpy as np

    parts = [np.asarray(part, np.float64) for part in rounds if len(part)]
    if len(parts) < 2:
        return None
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(parts), (draws, len(parts)))
    medians = [np.median(np.concatenate([parts[i] for i in row])) for row in chosen]
    low, high = np.percentile(medians, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def round_ratio(
    times: Sequence[float], base: Sequence[float], rounds: int
) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile over the rounds of ``times`` / ``base``.

    The ratio is that of the medians within each round, because a slowdown of the machine affects
    both files of an interleaved round.

    Args:
        times: Times of one file, in the order of measurement.
        base: Times of the other file, measured in turn with the first.
        rounds: Number of interleaved rounds.
    """
    import numpy as np

    first, second = (
        np.array([np.median(part) for part in np.array_split(np.asarray(values), rounds)])
        for values in (times, base)
    )
    low, middle, high = (float(value) for value in np.quantile(first / second, (0.25, 0.5, 0.75)))
    return low, middle, high
