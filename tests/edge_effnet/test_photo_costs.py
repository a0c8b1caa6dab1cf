"""Photos that cost more than a camera's, and decoders that fail in their own ways."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from edge_effnet import photo_files
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
    monkeypatch.setattr(photo_files, "_MOST_COPIED_PIXELS", 250_000)
    for suffix, fits in ((".webp", False), (".jp2", False), (".png", True)):
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


def test_photos_that_pillow_decodes_in_python(tmp_path: Path) -> None:
    """At most 16 MB of text, run lengths and 16-bit samples: 100 MB took 15 to 60 s."""
    for name, start in (("plain", b"P3 9000 9000 255\n"), ("wide", b"P6 9000 9000 65535\n")):
        path = tmp_path / f"{name}.ppm"
        path.write_bytes(start + b"1 " * (9 << 20))
        with pytest.raises(ImageError, match="takes long to decode"):
            load_image(path)
    fine = tmp_path / "fine.ppm"
    fine.write_bytes(b"P3 2 1 255\n1 2 3 4 5 6")
    assert load_image(fine).getpixel((1, 0)) == (4, 5, 6)


def test_metadata_in_a_million_pieces(tmp_path: Path) -> None:
    path = tmp_path / "pieces.ppm"
    path.write_bytes(b"P6\n" + b"#\n" * 600_000 + b"1 1 255\nabc")
    with pytest.raises(ImageError, match=r"pieces\.ppm has more pieces of metadata"):
        load_image(path)


def test_very_long_sides(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    Image.new("L", (1_000_001, 1)).save(path)
    with pytest.raises(ImageError, match="a side of 1,000,001 pixels"):
        load_image(path)


def test_large_photos_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_files, "_PIXELS_AT_ONCE", 10)
    together: list[int] = []
    most: list[int] = []

    def decode(pixels: int) -> None:
        with photo_files.taking_turns(pixels):
            together.append(pixels)
            most.append(sum(together))
            time.sleep(0.01)
            together.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [3, 4, 5, 3, 20, 10, 1, 2, 3] * 3))
    assert max(most) == 20  # alone
    assert not photo_files._decoding
    assert any(total not in (1, 2, 3, 4, 5, 10, 20) for total in most)  # some beside others


def open_files() -> set[Path]:
    """The files that this process has open (Linux)."""
    files = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            files.add(link.readlink())
    return files


def test_a_picture_is_decoded_once_and_its_file_closed(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp", ".gif"):
        path = tmp_path / f"a{suffix}"
        Image.new("RGB", (9, 7), (255, 0, 0)).save(path)
        picture = load_image(path)
        assert path not in open_files()
        assert picture.mode == "RGB"
        assert picture.resize((3, 3)).getpixel((1, 1))[0] > 250
