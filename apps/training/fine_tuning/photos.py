"""Decoded photos for training, reduced and held in memory as far as a budget allows."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from edge_effnet.preprocess import load_image

#: Bytes of decoded photos that are held in memory.
BUDGET = 1 << 30


class Photos:
    """RGB photos by index, reduced to a short side of at most ``short_side`` pixels.

    Photos beyond the memory budget are decoded at each use.
    """

    def __init__(self, paths: Sequence[Path], short_side: int, budget: int = BUDGET) -> None:
        self.paths = tuple(paths)
        self.short_side = short_side
        self._held: dict[int, Image.Image] = {}
        self._budget = budget

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        """A photo; raises `ImageError` if it cannot be read."""
        if index in self._held:
            return self._held[index]
        photo = self._decoded(index)
        size = photo.width * photo.height * 3
        if size <= self._budget:
            self._budget -= size
            self._held[index] = photo
        return photo

    def preload(self) -> None:
        """Decode photos in threads, so that loader processes share them; raises `ImageError`."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for index, photo in enumerate(pool.map(self._decoded, range(len(self)))):
                size = photo.width * photo.height * 3
                if size > self._budget:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return
                self._budget -= size
                self._held[index] = photo

    def release(self) -> None:
        """Free the memory of all photos; they are decoded again at the next use."""
        for photo in self._held.values():
            self._budget += photo.width * photo.height * 3
        self._held.clear()

    def _decoded(self, index: int) -> Image.Image:
        photo = load_image(self.paths[index])
        factor = self.short_side / min(photo.size)
        if factor >= 1:
            return photo
        width, height = (max(1, round(side * factor)) for side in photo.size)
        return photo.resize((width, height), Image.Resampling.BICUBIC)


def short_side(size: int, smallest_crop: float) -> int:
    """Short side at which the smallest crop of a square photo still has ``size`` pixels a side.

    Args:
        size: Side of the views in pixels.
        smallest_crop: Smallest area of a crop as a fraction of the photo.
    """
    return math.ceil(size / math.sqrt(smallest_crop))
