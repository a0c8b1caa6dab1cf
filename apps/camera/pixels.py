"""Pixels: a camera's frame -> the network's pixels, exactly or quickly.

Exactly is what `Preprocess.pixels` gives, bit by bit. Quickly is close to it at a price that hardly
grows with the frame: 0.15 ms at 640 x 480, where the exact way takes 1.5 ms, a third of an int8
Lite0's CPU time (x86-64). What differs is in docs/camera.md.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_effnet.apps.camera import opencv
from edge_effnet.preprocess import Interpolation, Preprocess

Pixels = NDArray[np.uint8]
#: Lines of the noise that the filter is fitted on, and its correlation from pixel to pixel: that of
#: photographs is 0.9 to 0.98.
_LINES, _CORRELATION = 128, 0.97
_EDGE = 8  # pixels at both ends that the fit leaves out


def exact(image: Pixels, how: Preprocess) -> Pixels:
    """BGR [height, width, 3] -> what ``how.pixels`` makes of the same picture in RGB, bit by bit.

    The channels are put in order at the end, where there are fewer pixels.
    """
    return _rgb(how.pixels(image))


def quick(image: Pixels, how: Preprocess) -> Pixels:
    """BGR [height, width, 3] -> close to `exact`: OpenCV's bilinear, filtered to be near ours."""
    height, width = image.shape[:2]
    window = how.window(width, height)
    sides, sizes = (window.width, window.height), (window.columns, window.rows)
    if sides == sizes or how.interpolation == "nearest":
        return exact(image, how)
    cut = image[window.top : window.top + window.height, window.left : window.left + window.width]
    across, down = (
        sharpening(side, size, how.interpolation) for side, size in zip(sides, sizes, strict=True)
    )
    small = _rgb(opencv.load().sepFilter2D(_shrunk(cut, sizes), -1, across, down))
    if sizes == (how.size, how.size):
        return small
    canvas = np.empty((how.size, how.size, 3), np.uint8)
    canvas[:] = how.border_colour
    canvas[window.y : window.y + window.rows, window.x : window.x + window.columns] = small
    return canvas


def _rgb(image: Pixels) -> Pixels:
    """The channels of a BGR picture turned round: a seventh of what numpy takes for it."""
    cv2 = opencv.load()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _shrunk(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Averaged over whole blocks of pixels, then bilinear; ``size`` is (width, height)."""
    cv2 = opencv.load()
    (height, width), (to_width, to_height) = image.shape[:2], size
    across, down = max(width // to_width, 1), max(height // to_height, 1)
    if across > 1 or down > 1:
        columns, rows = width // across, height // down
        x, y = (width - columns * across) // 2, (height - rows * down) // 2
        whole = image[y : y + rows * down, x : x + columns * across]
        image = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


@lru_cache(maxsize=16)
def sharpening(side: int, size: int, interpolation: Interpolation) -> NDArray[np.float64]:
    """The symmetric filter of 5 taps that brings quick lines of ``side`` pixels nearest to exact.

    Least squares on lines of noise with the correlation of photographs; the taps sum to 1.
    """
    random = np.random.default_rng(0)
    line = random.standard_normal(_LINES)
    columns = []
    for _ in range(side):
        step = random.standard_normal(_LINES) * math.sqrt(1 - _CORRELATION**2)
        line = _CORRELATION * line + step
        columns.append(line)
    lines = np.clip(128 + 40 * np.stack(columns, axis=1), 0, 255).astype(np.uint8)
    resampling = Image.Resampling[interpolation.upper()]
    wanted = np.asarray(Image.fromarray(lines).resize((size, _LINES), resampling), np.float64)
    given = _shrunk(lines, (size, _LINES)).astype(np.float64)
    inside = slice(_EDGE, size - _EDGE)
    around = [np.roll(given, n, 1) + np.roll(given, -n, 1) - 2 * given for n in (1, 2)]
    table = np.stack([item[:, inside].ravel() for item in around], axis=1)
    (near, far), *_ = np.linalg.lstsq(table, (wanted - given)[:, inside].ravel(), rcond=None)
    return np.array([far, near, 1 - 2 * (near + far), near, far])
