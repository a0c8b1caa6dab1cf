"""Reliability of predicted probabilities: accuracy per bin of confidence, and the ECE."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.metrics import ECE_BINS, expected_calibration_error
from edge_effnet.statistics import Interval, wilson

#: One-sided 95 % quantile of the normal distribution.
_Z95_ONE_SIDED = 1.6448536269514722


@dataclass(frozen=True)
class Bin:
    """Photos whose top-1 probability lies in the interval (``low``, ``high``].

    Attributes:
        low: Lower limit, exclusive.
        high: Upper limit, inclusive.
        photos: Number of photos.
        confidence: Mean top-1 probability.
        accuracy: Fraction of correct predictions.
        accuracy_ci: 95 % Wilson interval of ``accuracy``.
    """

    low: float
    high: float
    photos: int
    confidence: float
    accuracy: float
    accuracy_ci: Interval


@dataclass(frozen=True)
class Reliability:
    """How well probabilities match the frequency of correct predictions.

    The ECE of few photos is above 0 even if the probabilities are right, because the accuracy of
    each bin is noisy. ``expected`` is this ECE of right probabilities, and ``limit`` its 95 %
    quantile: an ECE above ``limit`` shows wrong probabilities.

    Attributes:
        bins: The bins with photos, in order.
        photos: Number of photos.
        ece: Expected calibration error, 0..1, with `ECE_BINS` bins.
        expected: Mean ECE of as many photos with these probabilities, if they were right.
        limit: 95 % quantile of the same.
        confidence: Mean top-1 probability.
        accuracy: Top-1 accuracy.
    """

    bins: tuple[Bin, ...]
    photos: int
    ece: float
    expected: float
    limit: float
    confidence: float
    accuracy: float

    @property
    def plausible(self) -> bool:
        """Whether the ECE is within the limit of right probabilities."""
        return self.ece <= self.limit

    @property
    def overconfident(self) -> bool | None:
        """Whether the probabilities are too high; None if too high here and too low there."""
        gap = self.confidence - self.accuracy
        return None if abs(gap) < self.ece / 2 else gap > 0


def reliability(
    confidences: NDArray[np.floating[Any]], right: NDArray[np.bool_]
) -> Reliability | None:
    """Reliability of the top-1 probabilities of at least one photo, else None.

    The ECE of right probabilities uses the normal approximation: the sum over a bin of
    (correct - p) has the variance v = sum of p (1 - p). Its absolute value then has the mean
    sqrt(2 v / pi) and the variance v (1 - 2 / pi).

    Args:
        confidences: Probability of the predicted class [photos].
        right: Whether the prediction is correct [photos].
    """
    count = len(right)
    if not count:
        return None
    confidences = np.asarray(confidences, np.float64)
    numbers = np.clip(np.ceil(confidences * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    variances = np.bincount(
        numbers, weights=confidences * (1 - confidences), minlength=ECE_BINS
    ).clip(0)
    mean = float(np.sqrt(2 * variances / math.pi).sum()) / count
    deviation = math.sqrt(float(variances.sum()) * (1 - 2 / math.pi)) / count
    return Reliability(
        bins=tuple(
            _bin(number, confidences[numbers == number], right[numbers == number])
            for number in np.unique(numbers).tolist()
        ),
        photos=count,
        ece=expected_calibration_error(confidences, right),
        expected=mean,
        limit=mean + _Z95_ONE_SIDED * deviation,
        confidence=float(confidences.mean()),
        accuracy=float(right.mean()),
    )


def _bin(number: int, confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> Bin:
    return Bin(
        low=number / ECE_BINS,
        high=(number + 1) / ECE_BINS,
        photos=len(right),
        confidence=float(confidences.mean()),
        accuracy=float(right.mean()),
        accuracy_ci=wilson(int(right.sum()), len(right)),
    )
