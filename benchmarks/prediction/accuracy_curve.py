"""What top-1 a network may be expected to have: the published ladder, and curves fitted to it.

Estimates, and stated as such: measure before you rely on one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from edge_effnet.errors import UsageError
from edge_effnet.network import build
from edge_effnet.variants import VARIANTS, Variant

#: Points that a released network loses when it runs at 1/2^x of its own side, over x^2. Least
#: squares over Lite0 at 160 and 192 px, Lite1 at 192 and Lite2 at 208, float32, against their own
#: sizes on 1,025 labelled photos (losses of 5.7, 2.0, 0.8 and 1.5 points; rms error 0.7). Larger
#: sides than its own gave -0.3 to 1.1 points: counted as nothing.
POINTS_OF_SIDE = 21.0
_FEW = 4  # members for which a line has to do
_FAMILIES = ("efficientnet-lite", "efficientnet-edgetpu-", "efficientnet-b", "efficientnetv2-")
#: Trained with more than ImageNet or by another method than the rest of their ladder.
_OTHER_TRAINING = ("efficientnet-b8", "efficientnet-l2", "efficientnetv2-xl")


def expected(variant: Variant, precision: str = "fp32", side: int | None = None) -> float | None:
    """Percent top-1 of a released network: published, less what int8 and a smaller side may cost.

    None where nothing is published. Where an int8 figure is, it counts; elsewhere the median loss
    of those that have one.
    """
    if variant.published is None:
        return None
    top1 = variant.published.top1
    if precision == "int8":
        known = variant.published.top1_int8
        top1 = top1 - _int8_loss() if known is None else known
    octaves = math.log2(variant.resolution / side) if side else 0.0
    return top1 - POINTS_OF_SIDE * max(0.0, octaves) ** 2


@dataclass(frozen=True)
class Curve:
    """Top-1 of networks trained at their own size, from their multiply-adds.

    100 - top-1 = exp(a + b x + c x^2) with x = ln(multiply-adds / 10^9), fitted to the ``members``
    of one family; c is 0 where leaving one out tells that a line does better. ``error`` is the root
    mean square in points when each member is told from the others; ``span`` holds the least and
    the most multiply-adds of the members, beyond which nothing is known.
    """

    members: tuple[str, ...]
    coefficients: tuple[float, ...]
    error: float
    span: tuple[int, int]

    def top1(self, multiply_adds: int) -> float:
        """Percent."""
        return _percent(self.coefficients, multiply_adds)


@cache
def curve(base: Variant) -> Curve:
    """The curve of the family that ``base`` is of; raises `UsageError` for one of no family."""
    prefix = next((p for p in _FAMILIES if base.name.startswith(p)), None)
    if prefix is None:
        raise UsageError(f"nothing is published of a family of {base.name}; start from one of ours")
    members = {
        v.name: v.published.top1
        for v in VARIANTS.values()
        if v.published and v.name.startswith(prefix) and v.name not in _OTHER_TRAINING
    }
    points = [(build(VARIANTS[name]).multiply_adds, top1) for name, top1 in members.items()]
    terms = min((2, 3) if len(points) > _FEW else (2,), key=lambda count: _left_out(points, count))
    adds = [point[0] for point in points]
    return Curve(
        tuple(members),
        _fit(points, terms),
        round(_left_out(points, terms), 2),
        (min(adds), max(adds)),
    )


def _left_out(points: Sequence[tuple[int, float]], terms: int) -> float:
    """Root mean square error in points of each from a curve through the others."""
    missed = []
    for index, (adds, top1) in enumerate(points):
        others = _fit([*points[:index], *points[index + 1 :]], terms)
        missed.append(_percent(others, adds) - top1)
    return math.sqrt(statistics.fmean(miss**2 for miss in missed))


def _fit(points: Sequence[tuple[int, float]], terms: int) -> tuple[float, ...]:
    rows = np.array([_row(adds)[:terms] for adds, _ in points])
    wanted = np.log([100 - top1 for _, top1 in points])
    return tuple(float(value) for value in np.linalg.lstsq(rows, wanted, rcond=None)[0])


def _percent(coefficients: Sequence[float], multiply_adds: int) -> float:
    terms = zip(coefficients, _row(multiply_adds), strict=False)
    return 100 - math.exp(sum(factor * term for factor, term in terms))


def _row(multiply_adds: int) -> tuple[float, float, float]:
    x = math.log(multiply_adds / 1e9)
    return 1.0, x, x * x


@cache
def _int8_loss() -> float:
    return statistics.median(
        v.published.top1 - v.published.top1_int8
        for v in VARIANTS.values()
        if v.published and v.published.top1_int8 is not None
    )
