"""Appearance of photos: brightness, contrast, colour and detail, compared with the calibration set.

An int8 file fits photos that look like its calibration photos. Their appearance is stored in the
card as quantiles, so that an evaluation can say that its photos look different. The distance of two
sets is the Kolmogorov-Smirnov statistic, the largest difference of their cumulative distributions,
of the quantity in which they differ most. At 224 pixels, with 100 to 130 photos a set, it is:

  random halves of labelled photos (500 pairs)                at most 0.29
  training and test photos of flowers                         0.12 - 0.14
  all flowers; one of their five kinds (n = 40)               0.15 - 0.40
  flowers; photos of 1,000 kinds of things                    0.32 - 0.49
  street frames; any of the photos above                      0.56 - 0.73
  the same photos; their grey or 4 times darker versions      0.97 - 1.00
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CalibrationRecord

#: Distance from which a set of photos looks different.
LEAST_DISTANCE = 0.5
#: Factor of the critical distance, sqrt((n + m) / (n m)), of equal sets at a probability of 0.1 %
#: (Smirnov 1948).
_CRITICAL = 1.95
_NAMES = ("brightness", "contrast", "colourfulness", "detail")
_LEVELS = np.linspace(0, 1, 21)


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness, contrast, colourfulness and detail of photos, in levels of 0..255.

    Args:
        pixels: uint8 [n, side, side, 3].

    Returns:
        float32 [n, 4]: the mean, the standard deviation, the mean range of the three colours of a
        pixel, and the mean difference of pixels below each other.
    """
    rows = np.empty((len(pixels), len(_NAMES)), np.float32)
    for row, photo in zip(rows, pixels, strict=True):
        levels = photo.astype(np.float32)
        colour = levels.max(axis=2) - levels.min(axis=2)
        detail = np.abs(np.diff(levels, axis=0))
        row[:] = levels.mean(), levels.std(), colour.mean(), detail.mean()
    return rows


def quantiles(values: NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    """The 21 quantiles from 0 to 1 of each quantity in ``values`` [n, 4], for the card."""
    table = np.quantile(values, _LEVELS, axis=0).T
    return tuple(tuple(round(float(value), 1) for value in row) for row in table)


def shift_warning(
    calibration: CalibrationRecord, values: NDArray[np.float32], name: str
) -> str | None:
    """A warning that photos look different from the calibration photos of a file.

    Args:
        calibration: The file's record, with the quantiles of its calibration photos.
        values: What `measure` returns for the other photos.
        name: Name of the file.

    Returns:
        The warning; None if the photos look alike, or if nothing is known.
    """
    if not calibration.appearance or not calibration.photos or not len(values):
        return None
    distances = [
        _distance(np.asarray(row), column)
        for row, column in zip(calibration.appearance, values.T, strict=True)
    ]
    worst = int(np.argmax(distances))
    count, others = calibration.photos, len(values)
    critical = _CRITICAL * math.sqrt((count + others) / (count * others))
    if distances[worst] < max(LEAST_DISTANCE, critical):
        return None
    there, here = (
        calibration.appearance[worst][len(_LEVELS) // 2],
        float(np.median(values[:, worst])),
    )
    return (
        f"the photos do not look like the {count} calibration photos of {name}: their "
        f"{_NAMES[worst]} differs (median {here:.0f} instead of {there:.0f}; distance "
        f"{distances[worst]:.2f}, similar photos at most 0.40). Clipping ranges may not fit them: "
        "calibrate on photos like those that the model will see"
    )


def _distance(reference: NDArray[np.float64], values: NDArray[np.float32]) -> float:
    """Kolmogorov-Smirnov statistic of ``values`` [n] and a distribution's quantiles [21]."""
    ordered = np.sort(values)
    expected = np.interp(ordered, reference, _LEVELS)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    below, above = np.abs(expected - steps[:-1]).max(), np.abs(expected - steps[1:]).max()
    return float(max(below, above))
