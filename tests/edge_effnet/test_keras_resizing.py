"""Resizing without antialiasing: recorded values of TensorFlow, and TensorFlow itself."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_effnet import keras_resizing
from edge_effnet.preprocess import IMAGENET_MEAN, Preprocess, rounded

SHAPES = [(227, 227), (480, 641), (333, 500), (57, 100), (5, 3), (1, 1), (320, 320)]
#: sha256 of tf.image.resize's float32 bytes for `photo` (97 x 131) at 64 x 64, TensorFlow 2.21.
RECORDED = {
    "bilinear": "a760d7210e4b4a28c7b4b4431d080915872de2a77c9a8fb50176ff5cbfaa191e",
    "nearest": "be7a552b9c83141cbe89d50bd47db856aadee9a1e6ceefa2a159099b27bc812f",
}


def photo(height: int = 97, width: int = 131) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("name", RECORDED)
def test_the_bytes_are_tensorflows(name: str) -> None:
    resized = keras_resizing.resize(photo(), 64, 64, name)
    assert resized.dtype == np.float32
    assert hashlib.sha256(resized.tobytes()).hexdigest() == RECORDED[name]


def test_bicubic_values_are_tensorflows() -> None:
    """TensorFlow's kernel fuses multiplications and additions, so the last bits differ."""
    resized = keras_resizing.resize(photo(), 64, 64, "bicubic")
    np.testing.assert_allclose(resized[0, 0], [38.2554, 179.8531, 38.936], atol=2e-4)
    np.testing.assert_allclose(resized[31, 63], [136.6123, 75.3053, 77.8779], atol=2e-4)
    assert resized.min() < 0
    assert resized.max() > 255


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "bound"), [("bilinear", 0), ("nearest", 0), ("bicubic", 3e-4)])
def test_any_size_is_resized_as_tensorflow_does(
    shape: tuple[int, int], name: str, bound: float
) -> None:
    tf = pytest.importorskip("tensorflow")
    for side in (8, 224, 300):
        wanted = tf.image.resize(photo(*shape), (side, side), method=name).numpy()
        found = keras_resizing.resize(photo(*shape), side, side, name)
        assert np.abs(found - wanted).max() <= bound


def test_pixels_are_rounded_exact_pixels() -> None:
    preprocess = Preprocess(64, 1.0, "keras-bicubic", crop_mode="squash")
    exact = preprocess.exact_pixels(photo())
    assert exact.dtype == np.float32
    pixels = preprocess.pixels(photo())
    np.testing.assert_array_equal(pixels, np.clip(np.rint(exact), 0, 255).astype(np.uint8))
    np.testing.assert_array_equal(rounded(pixels), pixels)
    np.testing.assert_array_equal(preprocess.exact_pixels(Image.fromarray(photo())), exact)
    assert Preprocess(64, 1.0, "bicubic").exact_pixels(photo()).dtype == np.uint8


def test_a_centre_crop_is_cut_before_it_is_resized() -> None:
    """Keras cuts the crop at int((width - side) / 2), and pixels beside it have no influence."""
    image = photo(64, 97)
    cut = image[:, 16:80]
    expected = keras_resizing.resize(cut, 32, 32, "bilinear")
    found = Preprocess(32, 1.0, "keras-bilinear").exact_pixels(image)
    np.testing.assert_array_equal(found, expected)


def test_a_border_has_the_mean_colour() -> None:
    preprocess = Preprocess(64, 1.0, "keras-bilinear", IMAGENET_MEAN, crop_mode="border")
    pixels = preprocess.exact_pixels(photo(40, 80))
    assert pixels[0, 0].tolist() == [124, 116, 104]
    expected = keras_resizing.resize(photo(40, 80), 64, 32, "bilinear")
    np.testing.assert_array_equal(pixels[16:48], expected)


def test_a_resized_photo_is_cut_in_the_middle() -> None:
    preprocess = Preprocess(60, 60 / 65, "keras-bilinear", crop_mode="squash", resize_first=True)
    expected = keras_resizing.resize(photo(), 65, 65, "bilinear")[2:62, 2:62]
    np.testing.assert_array_equal(preprocess.exact_pixels(photo()), expected)
