"""Heat map overlay: a class activation map drawn over the network's input window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.camera import opencv
from edge_effnet.crop_window import Window

#: Opacity of the heat map at its maximum.
OPACITY = 0.6


def strength(activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Positive part of an activation map divided by its maximum, float32 0..1.

    Negative values are evidence against the class and become 0, as in Grad-CAM (Selvaraju et al.,
    2017).
    """
    positive = np.maximum(activation, 0.0)
    peak = float(positive.max())
    return np.asarray(positive / peak if peak > 0 else positive, np.float32)


def lay_over(
    image: NDArray[np.uint8], heat: NDArray[np.float32], window: Window, size: int
) -> NDArray[np.uint8]:
    """A copy of ``image`` (BGR) with a heat map drawn over the network's input window.

    Args:
        image: uint8 BGR [height, width, 3].
        heat: Heat map with values 0..1, [rows, columns] over the network's input.
        window: Part of the image that the network sees.
        size: Side of the network's input in pixels.
    """
    cv2 = opencv.load()
    across, down = window.width / window.columns, window.height / window.rows
    enlarged = cv2.resize(
        heat, (round(size * across), round(size * down)), interpolation=cv2.INTER_CUBIC
    )
    x, y = round(window.x * across), round(window.y * down)  # without the network's border
    smooth = np.clip(enlarged[y : y + window.height, x : x + window.width], 0.0, 1.0)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = np.asarray(smooth * OPACITY, np.float32)
    out = image.copy()
    rows, columns = smooth.shape
    inside = out[window.top : window.top + rows, window.left : window.left + columns]
    inside[:] = cv2.blendLinear(colours, np.ascontiguousarray(inside), opacity, 1.0 - opacity)
    return np.asarray(out, np.uint8)
