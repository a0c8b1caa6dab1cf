"""Preprocessing of camera frames, exact or quick.

Exact preprocessing is bit-identical to `Preprocess.exact_pixels`. Quick preprocessing is an
approximation; docs/camera.md has its accuracy. At 640 x 480 it takes 0.18 ms instead of 1.6 ms, and
hardly more for larger frames (x86-64).

Exact preprocessing resizes by Pillow, which resizes RGBX pixels of four bytes along columns faster
than RGB pixels along rows. Rows are therefore transposed to columns, and four bytes of a row, of
whatever pixels, count as one RGBX pixel. Pillow computes the same sums.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_effnet.apps.camera import opencv
from edge_effnet.crop_window import Window
from edge_effnet.preprocess import Interpolation, Pixels, Preprocess

Frame = NDArray[np.uint8]
#: Number of random lines that the filter is fitted to, and the correlation between their
#: neighbouring pixels. Photographs have 0.9 to 0.98.
_LINES, _CORRELATION = 128, 0.97
_EDGE = 8  # pixels at both ends that the fit ignores


def exact(image: Frame, preprocess: Preprocess) -> Pixels:
    """Pixels of a BGR frame [height, width, 3], as `Preprocess.exact_pixels` gives for its RGB.

    BGR is converted to RGB after resizing, when there are fewer pixels.
    """
    height, width = image.shape[:2]
    window = preprocess.window(width, height)
    sizes = (window.columns, window.rows)
    packed = preprocess.interpolation in ("bilinear", "bicubic") and not preprocess.resize_first
    if packed and sizes == (preprocess.size, preprocess.size) != (window.width, window.height):
        return _rgb(_resized(image, window, preprocess))
    red, green, blue = preprocess.mean  # the border has the mean colour
    return _rgb(replace(preprocess, mean=(blue, green, red)).exact_pixels(image))


def _resized(image: Frame, window: Window, preprocess: Preprocess) -> Frame:
    """The ``window`` of a frame, resized along its rows, then along its columns."""
    x, y, right, bottom = preprocess.read_part(window, image.shape[1], image.shape[0])
    method = Image.Resampling[preprocess.interpolation.upper()]
    left, top = window.left - x, window.top - y
    part = _transposed(image[y:bottom, x:right])
    part = _resized_columns(part, window.columns, (left, left + window.width), method)
    part = _transposed(part[:, : bottom - y])
    part = _resized_columns(part, window.rows, (top, top + window.height), method)
    return np.ascontiguousarray(part[:, : window.columns])


def _transposed(image: Frame) -> Frame:
    """The transposed image, with up to 3 more columns of 0: a multiple of 4 in all."""
    cv2 = opencv.load()
    turned = cv2.transpose(image)
    more = -turned.shape[1] % 4
    return np.asarray(cv2.copyMakeBorder(turned, 0, 0, 0, more, cv2.BORDER_CONSTANT), np.uint8)


def _resized_columns(
    image: Frame, rows: int, part: tuple[int, int], method: Image.Resampling
) -> Frame:
    """The rows ``part`` (first, end) of an image, resized to a number of ``rows``."""
    height, width = image.shape[:2]
    columns = width * 3 // 4
    picture = Image.frombuffer("RGBX", (columns, height), image, "raw", "RGBX", 0, 1)
    box = (0, part[0], columns, part[1])
    return np.asarray(picture.resize((columns, rows), method, box)).reshape(rows, width, 3)


def quick(image: Frame, preprocess: Preprocess) -> Pixels:
    """Approximation of `exact`: OpenCV's bilinear resize, then the filter `sharpening`."""
    height, width = image.shape[:2]
    window = preprocess.window(width, height)
    sides, sizes = (window.width, window.height), (window.columns, window.rows)
    if sides == sizes or preprocess.interpolation not in ("bilinear", "bicubic"):
        return exact(image, preprocess)
    cut = image[window.top : window.top + window.height, window.left : window.left + window.width]
    across, down = (
        sharpening(side, size, preprocess.interpolation)
        for side, size in zip(sides, sizes, strict=True)
    )
    small = _rgb(opencv.load().sepFilter2D(_shrunk(cut, sizes), -1, across, down))
    if sizes == (preprocess.size, preprocess.size):
        return small
    canvas = np.empty((preprocess.size, preprocess.size, 3), np.uint8)
    canvas[:] = preprocess.border_colour
    canvas[window.y : window.y + window.rows, window.x : window.x + window.columns] = small
    return canvas


def _rgb(image: Pixels) -> Pixels:
    """BGR to RGB by OpenCV, which is seven times as fast as numpy; the dtype is kept."""
    cv2 = opencv.load()
    converted: Pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return converted


def _shrunk(image: Frame, size: tuple[int, int]) -> Frame:
    """Mean over integer blocks of pixels, then bilinear resize to ``size`` (width, height)."""
    cv2 = opencv.load()
    (height, width), (to_width, to_height) = image.shape[:2], size
    across, down = max(width // to_width, 1), max(height // to_height, 1)
    if across > 1 or down > 1:
        columns, rows = width // across, height // down
        x, y = (width - columns * across) // 2, (height - rows * down) // 2
        blocks = image[y : y + rows * down, x : x + columns * across]
        image = cv2.resize(blocks, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


@lru_cache(maxsize=16)
def sharpening(side: int, size: int, interpolation: Interpolation) -> NDArray[np.float64]:
    """Symmetric 5-tap filter that makes quick resizing similar to Pillow's ``interpolation``.

    The taps are a least-squares fit of quickly resized to exactly resized lines of pixels. The
    lines are random, with the pixel correlation of photographs. The taps sum to 1.

    Args:
        side: Length of a line before resizing.
        size: Length of a line after resizing.
        interpolation: Filter of the exact resizing.
    """
    random = np.random.default_rng(0)
    line = random.standard_normal(_LINES)
    columns = []
    for _ in range(side):
        innovation = random.standard_normal(_LINES) * math.sqrt(1 - _CORRELATION**2)
        line = _CORRELATION * line + innovation
        columns.append(line)
    lines = np.clip(128 + 40 * np.stack(columns, axis=1), 0, 255).astype(np.uint8)
    resampling = Image.Resampling[interpolation.upper()]
    wanted = np.asarray(Image.fromarray(lines).resize((size, _LINES), resampling), np.float64)
    shrunk = _shrunk(lines, (size, _LINES)).astype(np.float64)
    inside = slice(_EDGE, size - _EDGE)
    around = [np.roll(shrunk, n, 1) + np.roll(shrunk, -n, 1) - 2 * shrunk for n in (1, 2)]
    table = np.stack([item[:, inside].ravel() for item in around], axis=1)
    (near, far), *_ = np.linalg.lstsq(table, (wanted - shrunk)[:, inside].ravel(), rcond=None)
    return np.array([far, near, 1 - 2 * (near + far), near, far])
