"""Detection of scene changes: a cut, another photo, the light switched on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_effnet.answers import SCENE_CHANGE

#: Cells of the picture along each side, and sampled pixels along each side of a cell.
_CELLS, _SAMPLES = 8, 4


class SceneChange:
    """Compares each frame with the frame before."""

    def __init__(self) -> None:
        self._last: NDArray[np.float64] | None = None

    def __call__(self, image: NDArray[np.uint8]) -> bool:
        """Whether the uint8 frame [height, width, 3] shows another scene than the last one."""
        last, self._last = self._last, cells(image)
        return last is not None and float(np.abs(self._last - last).mean()) >= SCENE_CHANGE


def cells(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean colours of the cells, [8, 8, 3], from 16 sampled pixels of each cell."""
    count = _CELLS * _SAMPLES
    rows, columns = ((2 * np.arange(count) + 1) * side // (2 * count) for side in image.shape[:2])
    sampled = image[rows[:, None], columns]
    means: NDArray[np.float64] = sampled.reshape(_CELLS, _SAMPLES, _CELLS, _SAMPLES, 3).mean((1, 3))
    return means
