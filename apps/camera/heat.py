"""A class activation map as a heat layer over the square that the network sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.camera import opencv

#: How much of the picture the hottest spot hides.
OPACITY = 0.6


def strength(activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """An activation map -> float32 0..1 of the same shape: what speaks for the class, by its peak.

    Negative values speak against the class and become 0, as in Grad-CAM (Selvaraju et al., 2017).
    """
    positive = np.maximum(activation, 0.0)
    peak = float(positive.max())
    return np.asarray(positive / peak if peak > 0 else positive, np.float32)


def lay_over(
    image: NDArray[np.uint8], heat: NDArray[np.float32], square: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """A copy of ``image`` (BGR), ``heat`` (0..1, any size) over its square (left, top, side)."""
    cv2 = opencv.load()
    left, top, side = square
    smooth = cv2.resize(heat, (side, side), interpolation=cv2.INTER_CUBIC)
    smooth = np.clip(smooth, 0.0, 1.0)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = np.asarray(smooth * OPACITY, np.float32)
    out = image.copy()
    inside = out[top : top + side, left : left + side]
    inside[:] = cv2.blendLinear(colours, np.ascontiguousarray(inside), opacity, 1.0 - opacity)
    return np.asarray(out, np.uint8)
