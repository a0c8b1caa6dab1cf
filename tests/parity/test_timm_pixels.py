"""Pixels of timm's evaluation transforms, in every crop mode."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from edge_effnet.preprocess import IMAGENET_MEAN, IMAGENET_STD, CropMode, Interpolation, Preprocess

SIDES = [(480, 640), (640, 480), (301, 300), (97, 500), (500, 97), (160, 160), (40, 31)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop", [0.875, 0.95, 0.965, 1.0])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_pixels_are_timms(mode: CropMode, crop: float, interpolation: Interpolation) -> None:
    preprocess = Preprocess(
        160, crop, interpolation, IMAGENET_MEAN, IMAGENET_STD, mode, resize_first=True
    )
    transform = create_transform(
        (3, 160, 160), interpolation=interpolation, crop_pct=crop, crop_mode=mode
    )
    rng = np.random.default_rng(0)
    for width, height in SIDES:
        photo = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        values = transform(photo).numpy().transpose(1, 2, 0)
        assert np.array_equal(preprocess.pixels(photo), preprocess.denormalise(values))
