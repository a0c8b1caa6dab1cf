"""Expected top-1 of a network: published accuracies, and accuracy curves fitted to them.

All values are estimates; measure the accuracy before relying on it.
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

#: A released network at 1/2^x of its default input side loses this many points of top-1, times x^2.
#: Least-squares fit to Lite0 at 160 and 192 px, Lite1 at 192 and Lite2 at 208 (float32, 1,025
#: labelled photos). Their losses were 5.7, 2.0, 0.8 and 1.5 points; rms error of the fit: 0.7.
#: Sides above the default lost -0.3 to 1.1 points, which the estimate ignores.
POINTS_PER_SQUARED_OCTAVE = 21.0
_FEW = 4  # with at most this many members the curve is a line
_FAMILIES = ("efficientnet-lite", "efficientnet-edgetpu-", "efficientnet-b", "efficientnetv2-")
#: Networks that were trained with more data than ImageNet, or with another method than the rest of
#: their family.
_OTHER_TRAINING = ("efficientnet-b8", "efficientnet-l2", "efficientnetv2-xl")


def expected_top1(
    variant: Variant, precision: str = "fp32", side: int | None = None
) -> float | None:
    """Expected top-1 of a released network, in percent.

    Args:
        variant: The network.
        precision: ``fp32`` or ``int8``. Without a published int8 accuracy, int8 is the float32
            accuracy minus the median published int8 loss.
        side: Side of the input in pixels; None for the variant's default. Smaller sides lower the
            estimate.

    Returns:
        The percentage; None if nothing is published.
    """
    if variant.published is None:
        return None
    top1 = variant.published.top1
    if precision == "int8":
        published = variant.published.top1_int8
        top1 = top1 - _int8_loss() if published is None else published
    octaves = math.log2(variant.resolution / side) if side else 0.0
    return top1 - POINTS_PER_SQUARED_OCTAVE * max(0.0, octaves) ** 2


@dataclass(frozen=True)
class AccuracyCurve:
    """Top-1 of a family's networks, at their default input sides, by number of multiply-adds.

    100 - top-1 = exp(a + b x + c x^2) with x = ln(multiply-adds / 10^9).

    Attributes:
        members: Names of the published networks that the curve was fitted to.
        coefficients: a, b and c; only a and b if a line has the lower cross-validation error.
        error: Root mean square error of leave-one-out cross-validation, in percentage points.
        span: Smallest and largest number of multiply-adds of the members; outside, the curve
            extrapolates.
    """

    members: tuple[str, ...]
    coefficients: tuple[float, ...]
    error: float
    span: tuple[int, int]

    def top1(self, multiply_adds: int) -> float:
        """Top-1 in percent."""
        return _percent(self.coefficients, multiply_adds)


@cache
def accuracy_curve(base: Variant) -> AccuracyCurve:
    """Accuracy curve of the family of ``base``; raises `UsageError` if it belongs to no family."""
    prefix = next((p for p in _FAMILIES if base.name.startswith(p)), None)
    if prefix is None:
        raise UsageError(f"nothing is published of a family of {base.name}; start from one of ours")
    members = {
        v.name: v.published.top1
        for v in VARIANTS.values()
        if v.published and v.name.startswith(prefix) and v.name not in _OTHER_TRAINING
    }
    points = [(build(VARIANTS[name]).multiply_adds, top1) for name, top1 in members.items()]
    terms = min(
        (2, 3) if len(points) > _FEW else (2,), key=lambda count: _leave_one_out(points, count)
    )
    multiply_adds = [point[0] for point in points]
    return AccuracyCurve(
        tuple(members),
        _fit(points, terms),
        round(_leave_one_out(points, terms), 2),
        (min(multiply_adds), max(multiply_adds)),
    )


def _leave_one_out(points: Sequence[tuple[int, float]], terms: int) -> float:
    """Root mean square error, in points, of predicting each member from all others."""
    errors = []
    for index, (multiply_adds, top1) in enumerate(points):
        coefficients = _fit([*points[:index], *points[index + 1 :]], terms)
        errors.append(_percent(coefficients, multiply_adds) - top1)
    return math.sqrt(statistics.fmean(error**2 for error in errors))


def _fit(points: Sequence[tuple[int, float]], terms: int) -> tuple[float, ...]:
    rows = np.array([_terms(multiply_adds)[:terms] for multiply_adds, _ in points])
    targets = np.log([100 - top1 for _, top1 in points])
    return tuple(float(value) for value in np.linalg.lstsq(rows, targets, rcond=None)[0])


def _percent(coefficients: Sequence[float], multiply_adds: int) -> float:
    terms = zip(coefficients, _terms(multiply_adds), strict=False)
    return 100 - math.exp(sum(factor * term for factor, term in terms))


def _terms(multiply_adds: int) -> tuple[float, float, float]:
    x = math.log(multiply_adds / 1e9)
    return 1.0, x, x * x


@cache
def _int8_loss() -> float:
    """Median difference between published float32 and int8 top-1, in points."""
    return statistics.median(
        v.published.top1 - v.published.top1_int8
        for v in VARIANTS.values()
        if v.published and v.published.top1_int8 is not None
    )
