"""Inspection of photo files: decoded once at low resolution, for all checks of the data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_effnet import reading
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.photo_files import check_cost, check_decodable, open_image, taking_turns
from edge_effnet.preprocess import load_image
from edge_effnet.progress import Progress

#: Side in pixels to which JPEG decoding may shrink a photo; its scales are 1, 1/2, 1/4 and 1/8.
_DECODED = 64
_SIDE = 8  # cells that a photo is averaged to; a hash has 2 x 8 x 8 bits
#: Largest difference of colour channels in a grey photo; JPEG's chroma coding causes a few levels.
_GREY = 12
_ORIENTATION, _UPRIGHT = 0x0112, 1  # tag of EXIF


@dataclass(frozen=True)
class PhotoFacts:
    """Properties of one photo file.

    Attributes:
        sha256: Digest of the file.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        grey: Whether the photo has no colour.
        rotated: Whether its EXIF record asks for a rotation or reflection.
        hash: Perceptual hash, bool [128].
        error: Why the file cannot be used; empty for a usable photo.
    """

    sha256: str = ""
    width: int = 0
    height: int = 0
    grey: bool = False
    rotated: bool = False
    hash: NDArray[np.bool_] | None = None
    error: str = ""


def inspect_photos(paths: Sequence[Path], threads: int, progress: Progress) -> list[PhotoFacts]:
    """The facts of each photo, in order; no error is raised for unusable files.

    Args:
        paths: The files.
        threads: Decoding threads; 0 is one per core.
        progress: Called with (stage, done, total).
    """
    facts = []
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for done, fact in enumerate(pool.map(inspect_photo, paths), start=1):
            facts.append(fact)
            progress("check photos", done, len(paths))
    return facts


def inspect_photo(path: Path) -> PhotoFacts:
    """The facts of one photo."""
    try:
        data = reading.read_bytes(path)
    except OSError as error:
        return PhotoFacts(error=f"cannot be read: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    try:
        small, rotated, size = _decoded(path, data)
    except EdgeEffNetError as error:
        return PhotoFacts(digest, error=error.message.removeprefix(f"{path} "))
    channels = np.asarray(small.resize((2 * _SIDE, 2 * _SIDE), Image.Resampling.BOX), np.int16)
    grey = bool(np.ptp(channels, axis=2).max() <= _GREY)
    return PhotoFacts(digest, *size, grey, rotated, difference_hash(small))


def difference_hash(image: Image.Image) -> NDArray[np.bool_]:
    """Signs of the brightness differences of adjacent cells, bool [128].

    The photo is averaged to 9 x 8 cells for horizontal and 8 x 9 for vertical differences
    (N. Krawetz, "Kind of like that", 2013). Resizing, JPEG compression and brightness change few
    bits.

    Args:
        image: The upright photo.
    """
    grey = image.convert("L")
    box = Image.Resampling.BOX
    across = np.asarray(grey.resize((_SIDE + 1, _SIDE), box), np.int16)
    down = np.asarray(grey.resize((_SIDE, _SIDE + 1), box), np.int16)
    return np.concatenate(
        [(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()]
    )


def _decoded(path: Path, data: bytes) -> tuple[Image.Image, bool, tuple[int, int]]:
    """The small upright RGB photo, whether EXIF rotates it, and its full size upright.

    Raises:
        EdgeEffNetError: `load_image` cannot read the photo either.
    """
    check_decodable(path)
    try:
        with open_image(data) as opened, taking_turns(opened.width * opened.height):
            check_cost(opened, path)
            width, height = opened.size
            orientation = opened.getexif().get(_ORIENTATION, _UPRIGHT)
            if orientation >= 5:  # the rotations by a quarter turn
                width, height = height, width
            if opened.format == "JPEG" and opened.mode in ("RGB", "L"):
                opened.draft(opened.mode, (_DECODED, _DECODED))
                opened.load()
                upright = ImageOps.exif_transpose(opened).convert("RGB")
            else:
                upright = load_image(opened)
            return upright, orientation != _UPRIGHT, (width, height)
    except EdgeEffNetError:
        raise
    except Exception:  # Pillow's plugins raise errors of many types
        image = load_image(path)  # raises the error for the user, if there is one
        return image, False, image.size
