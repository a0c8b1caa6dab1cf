"""Augmented views of photos: random resized crop, mirror image, and a policy of timm.

A view depends on the photo and a seed alone, not on the process or the order of the views.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.errors import require
from edge_effnet.preprocess import Preprocess

require("timm", "train")

from timm.data.auto_augment import (  # noqa: E402  (after the check, whose message names the extra)
    auto_augment_transform,
    rand_augment_transform,
)
from timm.data.transforms import RandomResizedCropAndInterpolation  # noqa: E402

#: Largest shift as a fraction of the image side (timm.data.transforms_factory).
_TRANSLATE = 0.45


@dataclass(frozen=True)
class Augmenter:
    """Random views of photos.

    Attributes:
        size: Side of a view in pixels.
        crop: Random resized crop.
        policy: Augmentation policy of timm; None for none.
    """

    size: int
    crop: Callable[[Image.Image], Image.Image]
    policy: Callable[[Image.Image], Image.Image] | None

    def __call__(self, photo: Image.Image, seed: Sequence[int]) -> NDArray[np.uint8]:
        """The view of an RGB photo that belongs to ``seed``, uint8 [size, size, 3]."""
        with seeded(seed):
            view = self.crop(photo)
            if random.random() < 0.5:  # noqa: S311  (not for cryptography)
                view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if self.policy is not None:
                view = self.policy(view)
        return np.asarray(view, dtype=np.uint8)


def augmenter(
    recipe: Recipe, preprocess: Preprocess, size: int | None = None, magnitude: float | None = None
) -> Augmenter:
    """The augmentation of ``recipe`` for a network with ``preprocess``.

    Args:
        recipe: The recipe.
        preprocess: Its filter resizes the crops; its mean colour fills empty corners.
        size: Side of the views in pixels; None for the network's.
        magnitude: Magnitude of RandAugment; None for the recipe's.
    """
    side = preprocess.size if size is None else size
    crop = RandomResizedCropAndInterpolation(
        side, scale=recipe.crop_scale, interpolation=preprocess.interpolation.removeprefix("keras-")
    )
    parameters = {"translate_const": int(side * _TRANSLATE), "img_mean": preprocess.border_colour}
    name = recipe.policy.format(magnitude=recipe.magnitude if magnitude is None else magnitude)
    if name.startswith("rand"):
        return Augmenter(side, crop, rand_augment_transform(name, parameters))
    return Augmenter(side, crop, auto_augment_transform(name, parameters) if name else None)


@contextmanager
def seeded(seed: Sequence[int]) -> Iterator[None]:
    """Seed Python's and numpy's global generators, which timm uses, and restore them at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
