"""Photos for int8-aware training: seeded crops and mirror images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import UsageError
from edge_effnet.preprocess import Preprocess, load_image

#: Smallest side of a crop, as a fraction of the photo's shorter side.
_SMALLEST_CROP = 0.7


@dataclass(frozen=True, repr=False)
class Photos:
    """Photos with or without labels.

    Attributes:
        paths: The files.
        labels: Class index of each photo, or None.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError("int8-aware training needs at least one photo of each part")
        if self.labels is not None and len(self.labels) != len(self.paths):
            raise UsageError(f"{len(self.paths)} photos have {len(self.labels)} labels")

    def __repr__(self) -> str:
        return f"Photos({len(self.paths)}, {'without labels' if self.labels is None else 'labels'})"

    def subset(self, indices: Sequence[int]) -> Photos:
        """The photos at ``indices``, in that order."""
        labels = None if self.labels is None else tuple(self.labels[index] for index in indices)
        return Photos(tuple(self.paths[index] for index in indices), labels)


@dataclass(frozen=True)
class Batch:
    """``pixels`` uint8 [n, size, size, 3], and ``labels`` int64 [n] or None."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None


def split(photos: Photos, seed: int, part: int = 4) -> tuple[Photos, Photos]:
    """The photos for training, and the held-out photos: one in ``part``, from every class.

    Args:
        photos: At least 2 photos.
        seed: Seed of the choice.
        part: One photo in this many is held out.
    """
    if len(photos.paths) < 2:
        raise UsageError("int8-aware training needs at least 2 photos: one of them is held out")
    order = np.random.default_rng(seed).permutation(len(photos.paths))
    if photos.labels is not None:  # photos of one class are adjacent: every fourth covers all
        order = order[np.argsort(np.asarray(photos.labels)[order], kind="stable")]
    held_out = sorted(order[part // 2 :: part].tolist() or [int(order[0])])
    train = sorted(set(range(len(order))) - set(held_out))
    return photos.subset(train), photos.subset(held_out)


def read_pixels(photos: Photos, preprocess: Preprocess, threads: int) -> Batch:
    """All photos as the network sees them, without augmentation."""
    with ThreadPool(threads or None) as pool:
        pixels = np.stack(pool.map(preprocess.pixels, photos.paths))
    labels = None if photos.labels is None else np.asarray(photos.labels, np.int64)
    return Batch(pixels, labels)


def batches(
    photos: Photos, preprocess: Preprocess, size: int, seed: tuple[int, int], threads: int
) -> Iterator[Batch]:
    """Generate the batches of one epoch, in random order, augmented by crops and mirror images.

    Args:
        photos: The photos.
        preprocess: The network's preprocessing.
        size: Photos per batch; the last batch may be smaller.
        seed: Seed of the training, and number of the epoch.
        threads: Threads that decode photos.
    """
    order = np.random.default_rng(seed).permutation(len(photos.paths))
    with ThreadPool(threads or None) as pool:
        for start in range(0, len(order), size):
            chosen = order[start : start + size].tolist()
            crop = partial(_crop, photos, preprocess, seed)
            labels = None
            if photos.labels is not None:
                labels = np.array([photos.labels[index] for index in chosen], np.int64)
            yield Batch(np.stack(pool.map(crop, chosen)), labels)


def _crop(
    photos: Photos, preprocess: Preprocess, seed: tuple[int, int], index: int
) -> NDArray[np.uint8]:
    """A random square crop of one photo, mirrored in half of the cases."""
    rng = np.random.default_rng((*seed, index))
    image = load_image(photos.paths[index])
    width, height = image.size
    side = max(1, int(min(width, height) * rng.uniform(_SMALLEST_CROP, 1.0)))
    left = int(rng.integers(0, width - side + 1))
    top = int(rng.integers(0, height - side + 1))
    pixels = preprocess.pixels(image.crop((left, top, left + side, top + side)))
    return np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels
