"""Views of a photo whose features train the head: the photo, and its mirror image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_effnet.preprocess import Pixels, Preprocess

#: Number of views. The first is the photo as devices see it; accuracy is measured on it alone.
VIEWS = 2


def views(preprocess: Preprocess, path: Path) -> Pixels:
    """The views of a photo, RGB [`VIEWS`, size, size, 3]; raises `ImageError`."""
    pixels = preprocess.exact_pixels(path)
    stacked: Pixels = np.stack([pixels, pixels[:, ::-1]])
    return stacked
