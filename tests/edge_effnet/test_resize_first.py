"""Resizing a whole photo before cutting the input out of it, as timm does.

The digests are those of timm 1.0.31 with Pillow 13; `make parity` compares the pixels themselves.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from edge_effnet.card import ModelCard
from edge_effnet.preprocess import CropMode, Preprocess

SIDES = [(480, 640), (640, 480), (301, 300), (97, 500), (500, 97), (160, 160), (40, 31)]
DIGESTS: dict[CropMode, str] = {
    "center": "3e5e1cd8324f3cb9e61c0f8b26d29fe29445c3c7fb1cbbb14a8ee2fd282db813",
    "squash": "747a21b8b03b629366ab1a3c81935fd80d4e9d756e150cf95afac3f40f32a1ee",
    "border": "725719e937cf8d4088b58384c490fe9cf9646466bb801e274dc5b50f220aa423",
}


def photo(width: int, height: int) -> Image.Image:
    """A noisy picture."""
    y, x = np.indices((height, width))
    noisy = np.stack([(x * 7919 + y * 104729) % 1009, x * y, x * 255 // width], axis=2)
    return Image.fromarray(noisy.astype(np.uint8))


@pytest.mark.parametrize("mode", DIGESTS)
def test_pixels_are_timms(mode: CropMode) -> None:
    digest = hashlib.sha256()
    for width, height in SIDES:
        for crop in (0.875, 0.965, 1.0):
            for kind in ("bicubic", "bilinear"):
                preprocess = Preprocess(160, crop, kind, crop_mode=mode, resize_first=True)
                digest.update(preprocess.pixels(photo(width, height)).tobytes())
    assert digest.hexdigest() == DIGESTS[mode]


def test_a_card_keeps_the_order() -> None:
    preprocess = Preprocess(160, 0.875, resize_first=True)
    card = ModelCard("efficientnet-b0", preprocess, ("a", "b"))
    assert ModelCard.from_json(card.to_json()).preprocess == preprocess
    assert "resize_first" not in card.with_(preprocess=Preprocess(160, 0.875)).to_json()


def test_the_window_is_the_part_that_is_seen() -> None:
    window = Preprocess(160, 0.5, resize_first=True).window(200, 100)
    assert (window.left, window.top, window.width, window.height) == (75, 25, 50, 50)
