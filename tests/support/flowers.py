"""Folders with a few of the real photos of flowers, for tests of training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .labelled_photos import DATA

FLOWERS = DATA / "flowers5"


def few_flowers(folder: Path, classes: tuple[str, ...], count: int) -> Path:
    """``count`` training photos of each of ``classes`` in a folder per class."""
    if not FLOWERS.is_dir():
        pytest.skip(f"there are no photos of flowers in {FLOWERS}; set EDGE_EFFNET_DATA")
    for name in classes:
        (folder / name).mkdir(parents=True)
        for photo in sorted((FLOWERS / "train" / name).iterdir())[:count]:
            shutil.copy(photo, folder / name)
    return folder
