"""Confidence interval of a fraction."""

from __future__ import annotations

import math

#: Lower and upper limit.
Interval = tuple[float, float]

#: Two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054


def wilson(hits: int, total: int, z: float = Z95) -> Interval:
    """Wilson score interval (Wilson 1927) of the fraction ``hits / total``, within 0..1.

    Unlike the Wald interval, the Wilson interval does not shrink to a point at 0 % or 100 %.

    Args:
        hits: Number of successes.
        total: Number of trials.
        z: Normal quantile of the confidence level, by default 95 %.

    Raises:
        ValueError: Not 0 <= hits <= total, or total is 0.
    """
    if not 0 <= hits <= total or total == 0:
        raise ValueError(f"{hits} of {total} is not a share")
    share = hits / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    # At 0 and ``total`` hits a limit is exactly 0 or 1; floating point would deviate slightly.
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == total else min(1.0, centre + half)
    return low, high
