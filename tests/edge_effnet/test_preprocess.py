"""Photos of every kind to pixels; crop and resize as TensorFlow's evaluation does it."""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_effnet.errors import ImageError
from edge_effnet.preprocess import (
    CropMode,
    Interpolation,
    Preprocess,
    load_image,
    tensorflow_crop,
)

Pixels = NDArray[np.uint8]


def picture(width: int, height: int) -> Image.Image:
    """A smooth colour picture that is the same nowhere."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack(
        [x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), 128 + 90 * np.sin(x / 9)]
    )
    return Image.fromarray(rgb.transpose(1, 2, 0).astype(np.uint8))


def colour(image: Image.Image | Path | Pixels) -> tuple[int, ...]:
    """The RGB of the centre of what is loaded."""
    loaded = load_image(image)
    assert loaded.mode == "RGB"
    return loaded.getpixel((loaded.width // 2, loaded.height // 2))


# Crop and resize


def tensorflow_box(width: int, height: int, size: int) -> tuple[int, int, int]:
    """_decode_and_center_crop of TensorFlow's preprocessing.py, its integers: left, top, side.

    padded_center_crop_size = int((size / (size + CROP_PADDING)) * min(height, width))
    offset = ((length - padded_center_crop_size) + 1) // 2
    """
    side = int((size / (size + 32)) * min(height, width))
    return ((width - side) + 1) // 2, ((height - side) + 1) // 2, side


@pytest.mark.parametrize("size", [224, 240, 260, 300])
@pytest.mark.parametrize(
    ("width", "height"), [(500, 375), (375, 500), (227, 227), (333, 251), (97, 64)]
)
def test_the_crop_is_tensorflows(width: int, height: int, size: int) -> None:
    image = picture(width, height)
    left, top, side = tensorflow_box(width, height, size)
    cut = image.crop((left, top, left + side, top + side))
    expected = np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC))
    found = Preprocess(size, tensorflow_crop(size)).pixels(image)
    assert (found.dtype, found.shape) == (np.uint8, (size, size, 3))
    # Pillow's resize of a box may look at pixels beside it, by TensorFlow's crop they are gone.
    inner = slice(4, -4) if side < size else slice(2, -2)
    assert np.abs(found[inner, inner].astype(int) - expected[inner, inner]).max() <= 1


def test_every_pillow_gives_the_same_bytes() -> None:
    """The digest is that of Pillow 9.4, 10.4, 11.3, 12.2 and 13.0; alone, 13 takes tall pictures
    down before across."""
    digest = hashlib.sha256()
    for height, width in [(480, 640), (600, 450), (480, 320), (97, 500)]:
        y, x = np.indices((height, width))
        noisy = np.stack([(x * 7919 + y * 104729) % 1009, x * y, x * 255 // width], axis=2)
        for interpolation in ("bicubic", "bilinear", "nearest"):
            preprocess = Preprocess(160, 0.875, interpolation)
            digest.update(preprocess.pixels(noisy.astype(np.uint8)).tobytes())
    assert digest.hexdigest() == "88603901f61dd972d308c8310c894f47e0fb72c6cef1c7297508ea9b0ebe1b0d"


@given(
    st.integers(8, 700),
    st.integers(8, 700),
    st.sampled_from([48, 160, 224, 240]),
    st.sampled_from([0.3, 0.875, 1.0]),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
    st.sampled_from(["center", "squash"]),
    st.booleans(),
)
def test_what_is_cut_away_changes_no_byte(
    width: int,
    height: int,
    size: int,
    crop: float,
    kind: Interpolation,
    mode: CropMode,
    array: bool,
) -> None:
    """Against Pillow on the whole picture, across then down; black and white noise shows most."""
    noise = np.random.default_rng(width * height).integers(0, 2, (height, width, 3), np.uint8) * 255
    how, image = Preprocess(size, crop, kind, crop_mode=mode), Image.fromarray(noise)
    window = how.window(width, height)
    left, top, right = window.left, window.top, window.left + window.width
    assert (window.width == window.height) or mode == "squash"
    method = Image.Resampling[kind.upper()]
    wide = (left, 0, right, height)
    if kind == "nearest":
        expected = image.resize((size, size), method, (left, top, right, top + window.height))
    else:
        across = image.resize((size, height), method, wide)
        expected = across.resize((size, size), method, (0, top, size, top + window.height))
    assert np.array_equal(how.pixels(noise if array else image), np.asarray(expected))


@given(st.integers(8, 400), st.integers(8, 400), st.integers(8, 64))
def test_nearest_shows_which_pixels_are_taken(width: int, height: int, size: int) -> None:
    """Every pixel holds its own position, so the crop can be read off the result."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x % 256, y % 256, (x // 256) * 16 + y // 256], axis=-1).astype(np.uint8)
    found = Preprocess(size, tensorflow_crop(size), "nearest").pixels(image).astype(int)
    columns = found[0, :, 0] + found[0, :, 2] // 16 * 256
    rows = found[:, 0, 1] + found[:, 0, 2] % 16 * 256
    left, top, side = tensorflow_box(width, height, size)
    centres = (np.arange(size) + 0.5) * side / size
    assert np.abs(columns - left - np.floor(centres)).max() <= 1e-9 + (side % size != 0)
    assert np.abs(rows - top - np.floor(centres)).max() <= 1e-9 + (side % size != 0)
    assert columns.min() >= left
    assert columns.max() < left + side
    assert rows.min() >= top
    assert rows.max() < top + side


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = picture(96, 96)
    assert np.array_equal(Preprocess(96, 1.0).pixels(image), np.asarray(image))


def test_interpolations_differ_and_nearest_invents_nothing() -> None:
    image = picture(301, 200)
    kinds = {
        kind: Preprocess(64, 0.9, kind).pixels(image) for kind in ("nearest", "bilinear", "bicubic")
    }
    assert not np.array_equal(kinds["bilinear"], kinds["bicubic"])
    colours = set(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))
    assert set(map(tuple, kinds["nearest"].reshape(-1, 3).tolist())) <= colours


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_the_smallest_pictures(width: int, height: int) -> None:
    pixels = Preprocess(32, tensorflow_crop(32)).pixels(
        Image.new("RGB", (width, height), (9, 99, 200))
    )
    assert pixels.shape == (32, 32, 3)
    assert (pixels == (9, 99, 200)).all()


def test_paths_images_and_arrays_give_the_same(tmp_path: Path) -> None:
    image = picture(120, 90)
    path = tmp_path / "p.png"
    image.save(path)
    array = np.asarray(image)
    pre = Preprocess(48, 0.875)
    expected = pre.pixels(image)
    for given_ in (path, str(path), array, np.asfortranarray(array), array[::-1][::-1]):
        assert np.array_equal(pre.pixels(given_), expected)


# Kinds of pictures


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_greyscale(tmp_path: Path) -> None:
    assert colour(saved(tmp_path / "g.png", Image.new("L", (8, 8), 77))) == (77, 77, 77)


@pytest.mark.parametrize("value", [0, 200, 257, 30_000, 65_535])
def test_16_bit_greyscale_is_scaled_not_clipped(tmp_path: Path, value: int) -> None:
    deep = Image.fromarray(np.full((8, 8), value, np.uint16))
    assert deep.mode == "I;16"
    expected = round(value / 257)
    for path in (saved(tmp_path / "d.png", deep), saved(tmp_path / "d.tif", deep)):
        assert colour(path) == (expected,) * 3


def test_floating_point_pictures(tmp_path: Path) -> None:
    unit = Image.fromarray(np.full((8, 8), 0.5, np.float32))
    wide = Image.fromarray(np.full((8, 8), 100.0, np.float32))
    assert colour(saved(tmp_path / "u.tif", unit)) == (128, 128, 128)
    assert colour(saved(tmp_path / "w.tif", wide)) == (100, 100, 100)


def test_cmyk(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=95)
    red, green, blue = colour(path)
    assert red > 230
    assert max(green, blue) < 40


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert colour(saved(tmp_path / "p.png", image)) == (10, 200, 30)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    gone = saved(tmp_path / "p.png", palette, transparency=1)
    assert colour(gone) == (255, 255, 255)
    half = saved(tmp_path / "h.png", Image.new("RGBA", (8, 8), (255, 0, 0, 128)))
    assert colour(half) == pytest.approx((255, 127, 127), abs=1)
    grey = saved(tmp_path / "g.png", Image.new("LA", (8, 8), (0, 0)))
    assert colour(grey) == (255, 255, 255)
    opaque = saved(tmp_path / "o.png", Image.new("RGBA", (8, 8), (1, 2, 3, 255)))
    assert colour(opaque) == (1, 2, 3)


def test_black_and_white_bits(tmp_path: Path) -> None:
    assert colour(saved(tmp_path / "1.png", Image.new("1", (8, 8), 1))) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), rgb) for rgb in ((0, 128, 0), (255, 0, 0), (0, 0, 255))]
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, **options)
    assert Image.open(path).n_frames == 3
    assert colour(path) == (0, 128, 0)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    width, height = image.size
    places = ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1))
    return [image.getpixel(place) for place in places]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_orientation_is_obeyed(tmp_path: Path, orientation: int) -> None:
    """Saved as the sensor saw it, with the tag that says how it was held."""
    upright = Image.fromarray(
        np.repeat(np.repeat(np.array([[0, 80], [160, 240]], np.uint8), 16, 0), 24, 1)
    ).convert("RGB")
    turn = {
        1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"],
        5: ["TRANSPOSE"], 6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"],
    }[orientation]  # fmt: skip
    sensor = upright
    for step in turn:
        sensor = sensor.transpose(Image.Transpose[step])
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(saved(tmp_path / "e.png", sensor, exif=exif))
    assert loaded.size == upright.size
    assert corners(loaded) == corners(upright)


# What is no picture


def broken(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    picture(200, 150).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_jpeg(tmp_path: Path, share: float) -> None:
    data = jpeg()
    path = tmp_path / "t.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    assert "broken" in broken(path) or "not an image" in broken(path)


def png() -> bytes:
    buffer = io.BytesIO()
    picture(200, 150).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: b"I am no picture\n", "not an image that Pillow can decode"),
        (lambda: b"", "not an image that Pillow can decode"),
        (lambda: os.urandom(4096), "not an image that Pillow can decode"),
        (lambda: png()[:300], "is broken"),
    ],
    ids=["text", "empty", "noise", "cut png"],
)
def test_other_files_named_jpg(tmp_path: Path, content: Callable[[], bytes], said: str) -> None:
    path = tmp_path / "p.jpg"
    path.write_bytes(content())
    assert said in broken(path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    assert "there is no image" in broken(tmp_path / "none.jpg")
    assert "is a folder, not an image" in broken(tmp_path)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kB that says it is huge."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(("width", "height"), [(12_000, 9_000), (60_000, 60_000)])
def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "b.png"
    path.write_bytes(bomb(width, height))
    assert "too large to decode safely; scale it down first" in broken(path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.int8),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_other_arrays_are_refused(array: NDArray[np.generic]) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(array)  # type: ignore[arg-type]
    assert f"not {array.dtype} {list(array.shape)}" in str(caught.value)
    assert "uint8 with shape [height, width, 3] in RGB order" in str(caught.value)


# Normalisation


@given(
    st.tuples(*[st.floats(0, 255)] * 3),
    st.tuples(*[st.floats(1, 255)] * 3),
    st.integers(0, 2**32 - 1),
)
def test_denormalise_inverts_normalise(
    mean: tuple[float, float, float], std: tuple[float, float, float], seed: int
) -> None:
    pre = Preprocess(4, 1.0, mean=mean, std=std)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8)
    values = pre.normalise(pixels)
    assert (values.dtype, values.shape) == (np.float32, pixels.shape)
    assert np.array_equal(pre.denormalise(values), pixels)


def test_normalise_is_per_channel() -> None:
    pre = Preprocess(1, 1.0, mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0))
    values = pre.normalise(np.array([[[11, 24, 38]]], np.uint8))
    assert values.tolist() == [[[1.0, 2.0, 2.0]]]


def test_denormalise_stays_in_range() -> None:
    values = np.array([[[-9.0, 0.001, 9.0]]], np.float32)
    assert Preprocess(1, 1.0).denormalise(values).tolist() == [[[0, 127, 255]]]


def test_crop_of_tensorflow() -> None:
    assert tensorflow_crop(224) == 0.875
    assert math.isclose(tensorflow_crop(300), 300 / 332)
