"""Folders of small drawn photos per class, for tests of training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48


def photo(seed: int, colour: tuple[int, int, int] = (200, 60, 40)) -> Image.Image:
    """A picture of random soft blobs around ``colour``; other seeds look different."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-90, 90, (6, 6, 3)) + np.array(colour)
    picture = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def make_classes(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """A folder per class with PNG photos ``0.png``, ``1.png``, ...; returns ``root``."""
    seed = first_seed
    for index, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            colour = (60 + 60 * (index % 3), 200 - 50 * (index % 4), 90)
            photo(seed, colour).save(folder / f"{number}.png")
    return root
