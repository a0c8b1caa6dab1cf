"""Views of a photo whose features train the head: the photo, and its mirror image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.preprocess import Preprocess

#: Number of views. The first is the photo as devices see it; accuracy is measured on it alone.
VIEWS = 2


def views(preprocess: Preprocess, path: Path) -> NDArray[np.uint8]:
    """The views of a photo, uint8 RGB [`VIEWS`, size, size, 3]; raises `ImageError`."""
    pixels = preprocess.pixels(path)
    return np.stack([pixels, pixels[:, ::-1]])
