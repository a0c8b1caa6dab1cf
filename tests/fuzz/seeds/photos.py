"""Photos of each format that Pillow decodes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from fuzz.seeds import Seed


def jpeg() -> list[Seed]:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    return [
        _saved("jpg", quality=70),
        _saved("jpg", quality=70, progressive=True, exif=exif),
        _saved("jpg", "CMYK", quality=60),
        _saved("jpg", "L", quality=60),
    ]


def png() -> list[Seed]:
    return [
        *(_saved("png", mode) for mode in ("RGB", "RGBA", "P", "L", "1", "LA")),
        _saved("png", "I;16"),
        {"photo.png": _animated("PNG")},
    ]


def webp() -> list[Seed]:
    return [
        _saved("webp", quality=60),
        _saved("webp", lossless=True),
        _saved("webp", "RGBA", quality=60),
        {"photo.webp": _animated("WEBP")},
    ]


def avif() -> list[Seed]:
    return [_saved("avif", quality=50), _saved("avif", "RGBA", quality=50)]


def tiff() -> list[Seed]:
    compressions = ("raw", "tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")
    return [
        *(_saved("tif", compression=kind) for kind in compressions),
        *(_saved("tif", mode) for mode in ("1", "L", "P", "CMYK", "F", "I;16")),
        {"photo.tif": _big_endian_tiff()},
    ]


def gif() -> list[Seed]:
    return [_saved("gif", "P"), {"photo.gif": _animated("GIF")}]


def others() -> list[Seed]:
    return [_saved("bmp"), _saved("bmp", "P"), _saved("ppm"), _saved("ppm", "L")]


def picture(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """40 x 32 pixels of coloured blocks."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (4, 5, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert(mode)


def _saved(suffix: str, mode: str = "RGB", **options: Any) -> Seed:
    buffer = io.BytesIO()
    name = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    picture(mode).save(buffer, name, **options)
    return {f"photo.{suffix}": buffer.getvalue()}


def _animated(kind: str) -> bytes:
    buffer = io.BytesIO()
    frames = [picture("RGB", seed) for seed in (1, 2)]
    picture().save(buffer, kind, save_all=True, append_images=frames)
    return buffer.getvalue()


def _big_endian_tiff() -> bytes:
    """8 x 8 pixels of RGB, deflated, in Motorola's byte order."""
    strip = zlib.compress(bytes(8 * 8 * 3))
    entries = (
        (256, 3, 1, 8 << 16), (257, 3, 1, 8 << 16), (258, 3, 1, 8 << 16), (259, 3, 1, 8 << 16),
        (262, 3, 1, 2 << 16), (273, 4, 1, 8), (277, 3, 1, 3 << 16), (278, 3, 1, 8 << 16),
        (279, 4, 1, len(strip)),
    )  # fmt: skip
    table = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    start = 8 + len(strip)
    return (
        b"MM\0*"
        + struct.pack(">I", start)
        + strip
        + struct.pack(">H", len(entries))
        + table
        + bytes(4)
    )
