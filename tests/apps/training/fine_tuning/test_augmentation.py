"""Views depend on the photo and the seed alone, and leave the random generators alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from edge_effnet.apps.training.fine_tuning.augmentation import augmenter
from edge_effnet.apps.training.fine_tuning.recipes import RECIPES
from edge_effnet.preprocess import Preprocess


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(data.coffee())


@pytest.mark.parametrize("name", RECIPES)
def test_a_view_depends_on_its_seed_alone(name: str, photo: Image.Image) -> None:
    augment = augmenter(RECIPES[name], Preprocess(64, 0.875))
    first = augment(photo, (0, 1, 2))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    others = [augment(photo, (0, 1, number)) for number in range(20)]
    assert np.array_equal(first, others[2])
    assert len({other.tobytes() for other in others}) == 20


def test_generators_are_restored(photo: Image.Image) -> None:
    augment = augmenter(RECIPES["default"], Preprocess(64, 0.875))
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    augment(photo, (0, 0, 0))
    assert (random.random(), np.random.rand()) == expected


def test_crops_cover_the_fraction_of_the_recipe(photo: Image.Image) -> None:
    """A photo of which each pixel's colour is its position shows which part a view covers."""
    side = 256
    ramp = np.arange(side, dtype=np.uint8)
    position = np.stack([*np.meshgrid(ramp, ramp), np.zeros((side, side), np.uint8)], axis=2)
    plain = augmenter(RECIPES["default"], Preprocess(64, 0.875))
    low, high = RECIPES["default"].crop_scale
    areas = []
    for _ in range(40):
        view = np.asarray(plain.crop(Image.fromarray(position)), dtype=float)
        spans = np.ptp(view[..., :2].reshape(-1, 2), axis=0) + 1
        areas.append(spans.prod() / side**2)
    assert min(areas) > low * 0.85
    assert max(areas) <= high
