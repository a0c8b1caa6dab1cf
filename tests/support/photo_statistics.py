"""Statistics of predictions on photos whose bars fail on wrong code and not on chance.

Float sums differ in their last bits between processors, and with them 7 % of Lite0's integers. The
signal to quantization noise ratio (SQNR) of its logits moves by less than 0.1 dB then. A share of
the photos moves by its standard error, so its bar lies two of them below the aim.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXPECTED: dict[str, Any] = json.loads(
    Path(__file__).with_name("expected_accuracy.json").read_text("utf-8")
)
AIMS: dict[str, Any] = EXPECTED["aims"]


def standard_error(share: float, count: int) -> float:
    """Of a share in ``count`` independent photos (binomial)."""
    return math.sqrt(share * (1 - share) / count)


def reaches(hits: NDArray[np.bool_], aim: float) -> bool:
    """Whether a share is the aim or at most two standard errors of the aim below it."""
    return bool(hits.mean() >= aim - 2 * standard_error(aim, len(hits)))


@dataclass(frozen=True)
class Paired:
    """Difference of two files' right answers on the same photos, in points of top-1."""

    points: float
    standard_error: float

    def at_most(self, aim: float) -> bool:
        """Whether it is the aim or at most two standard errors above it."""
        return self.points <= aim + 2 * self.standard_error


def paired(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Paired:
    """``one`` - ``other``: photos that both get right or both wrong count for nothing."""
    difference = 100 * (one.astype(float) - other)
    return Paired(float(difference.mean()), float(difference.std() / math.sqrt(len(difference))))
