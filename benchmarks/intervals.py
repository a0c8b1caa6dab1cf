"""Counts -> 95 % confidence intervals of shares, and of the difference of two paired shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_effnet.statistics import Z95, Interval


def paired_difference(lost: int, gained: int, total: int, z: float = Z95) -> Interval:
    """Interval of ``(lost - gained) / total``, inside -1..1: the adjusted Wald of Bonett & Price.

    ``lost`` counts the photos that the first of two classifiers gets right and the second wrong,
    ``gained`` the reverse, over the same ``total`` photos. Only these discordant photos carry
    information, which makes the interval far narrower than that of two independent samples.
    (D. G. Bonett, R. M. Price, Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data, J. Educ. Behav. Stat. 37(4), 2012.)
    Raises `ValueError` unless the counts fit into ``total`` > 0.
    """
    if lost < 0 or gained < 0 or lost + gained > total or total == 0:
        raise ValueError(f"{lost} lost and {gained} gained do not fit into {total}")
    first, second = (lost + 1) / (total + 2), (gained + 1) / (total + 2)
    centre = first - second
    half = z * math.sqrt(max(0.0, first + second - centre * centre) / (total + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def bootstrap_median(rounds: Sequence[Sequence[float]], draws: int = 1000) -> Interval | None:
    """95 % percentile bootstrap interval of the median of times taken in ``rounds``.

    Whole rounds are drawn, for times within one are alike (Efron and Tibshirani 1993, chapter 8:
    blocks); the draws are seeded. None for fewer than two rounds.
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
