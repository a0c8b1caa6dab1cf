"""Photos that cost more than a camera's, and decoders that fail in their own ways."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFile

from edge_effnet import preprocess
from edge_effnet.errors import ImageError
from edge_effnet.preprocess import load_image


def test_photos_that_cost_too_much(tmp_path: Path) -> None:
    progressive = tmp_path / "scans.jpg"
    Image.new("RGB", (4000, 3000)).save(progressive, progressive=True)
    assert load_image(progressive).size == (4000, 3000)
    data = progressive.read_bytes()
    scan = data[data.index(b"\xff\xda") : -2]
    progressive.write_bytes(data[:-2] + scan * 20 + data[-2:])
    with pytest.raises(ImageError, match=r"JPEG of \d+ scans"):
        load_image(progressive)
    wide = tmp_path / "float.tif"
    Image.new("F", (8000, 5000), 0.5).save(wide)
    with pytest.raises(ImageError, match="too large to decode safely"):
        load_image(wide)


def test_any_error_of_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)

    def fail(self: Image.Image) -> None:
        raise RuntimeError("Failed to decode frame 0")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(ImageError, match="is broken: Failed to decode frame 0"):
        load_image(path)


def test_a_format_that_copies_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that is too much for WebP, whose decoder holds five pictures, is fine for PNG."""
    monkeypatch.setattr(preprocess, "_MOST_COPIED_PIXELS", 250_000)
    for suffix, fits in ((".webp", False), (".png", True)):
        path = tmp_path / f"large{suffix}"
        Image.new("RGB", (250, 250)).save(path)
        if fits:
            assert load_image(path).size == (250, 250)
        else:
            with pytest.raises(ImageError, match="save it as JPEG"):
                load_image(path)


def test_tall_photos_of_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "tall.png"
    Image.new("I;16", (4, 400_000), 65535).save(path)
    assert load_image(path).getpixel((3, 399_999)) == (255, 255, 255)
