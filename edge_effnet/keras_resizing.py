"""Resizing without antialiasing to float32 pixels, as Keras's Resizing layer and data sets do.

The arithmetic is that of TensorFlow's CPU kernels with half-pixel centres, in float32
(tensorflow/core/kernels/image: resize_bilinear_op.cc, resize_bicubic_op.cc,
resize_nearest_neighbor_op.cc). `apps/web/static/keras_resizing.js` gives the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

_HALF = np.float32(0.5)
#: Entries per pixel of the table of bicubic weights, and the filter's parameter a.
_TABLE_SIZE, _SHARPNESS = 1024, -0.5


def resize(picture: NDArray[np.uint8], columns: int, rows: int, filter_name: str) -> Floats:
    """Resize a picture, each output from the 1, 4 or 16 pixels around its centre.

    Args:
        picture: uint8 RGB [height, width, 3].
        columns: Width of the result in pixels.
        rows: Height of the result in pixels.
        filter_name: ``bilinear``, ``bicubic`` or ``nearest``.

    Returns:
        float32 [rows, columns, 3] in pixel units. Bicubic values may be outside 0..255.
    """
    height, width = picture.shape[:2]
    if filter_name == "nearest":
        down, across = _nearest(height, rows), _nearest(width, columns)
        return np.asarray(picture[down][:, across], np.float32)
    if filter_name == "bilinear":
        return _bilinear(picture, columns, rows)
    down, down_weights = _cubic(height, rows)
    across, across_weights = _cubic(width, columns)
    lines = _weighted([picture[down[:, tap]] for tap in range(4)], down_weights[:, :, None, None])
    taps = [lines[:, across[:, tap]] for tap in range(4)]
    return _weighted(taps, across_weights[:, None, :, None])


def _centres(length: int, size: int) -> Floats:
    """Centres of ``size`` outputs along an axis of ``length`` pixels, pixel 0 from 0 to 1."""
    scale = np.float32(length) / np.float32(size)
    return np.asarray((np.arange(size, dtype=np.float32) + _HALF) * scale, np.float32)


def _nearest(length: int, size: int) -> Indices:
    return np.minimum(np.floor(_centres(length, size)).astype(np.intp), length - 1)


def _bilinear(picture: NDArray[np.uint8], columns: int, rows: int) -> Floats:
    top, bottom, down = _linear(picture.shape[0], rows)
    left, right, across = _linear(picture.shape[1], columns)

    def line(indices: Indices) -> Floats:
        pixels = picture[indices]
        start = pixels[:, left].astype(np.float32)
        return start + (pixels[:, right] - start) * across[:, None]

    above = line(top)
    return above + (line(bottom) - above) * down[:, None, None]


@lru_cache(maxsize=16)
def _linear(length: int, size: int) -> tuple[Indices, Indices, Floats]:
    """Lower and upper pixel of each output, and the weight of the upper one."""
    places = _centres(length, size) - _HALF
    below = np.floor(places)
    lower = np.maximum(below, 0).astype(np.intp)
    upper = np.minimum(below + 1, length - 1).astype(np.intp)
    return lower, upper, places - below


@lru_cache(maxsize=16)
def _cubic(length: int, size: int) -> tuple[Indices, Floats]:
    """The four pixels of each output [size, 4] and their weights [4, size].

    Pixels outside the picture weigh nothing; the other weights are divided by their sum.
    """
    places = _centres(length, size) - _HALF
    below = np.floor(places)
    offset = np.rint((places - below) * np.float32(_TABLE_SIZE)).astype(np.intp)
    near, far = _cubic_table()
    wanted = below.astype(np.intp)[:, None] + np.arange(-1, 3)
    indices = np.clip(wanted, 0, length - 1)
    back = _TABLE_SIZE - offset
    weights = np.stack([far[offset], near[offset], near[back], far[back]])
    weights[(indices != wanted).T] = 0
    total = weights[0] + weights[1] + weights[2] + weights[3]
    return indices, weights * (np.float32(1) / total)


@lru_cache(maxsize=1)
def _cubic_table() -> tuple[Floats, Floats]:
    """Weights of pixels at distances of 0 to 1, and of 1 to 2, in steps of 1/1024."""
    a, x = _SHARPNESS, np.arange(_TABLE_SIZE + 1) / _TABLE_SIZE
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    x = x + 1.0
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return near.astype(np.float32), far.astype(np.float32)


def _weighted(taps: Sequence[NDArray[np.uint8 | np.float32]], weights: Floats) -> Floats:
    """Sum of four taps times their weights, in order, rounded to float32 after each step."""
    total = taps[0] * weights[0]
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        total = total + tap * weight
    return np.asarray(total, np.float32)
