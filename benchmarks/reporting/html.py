"""Parts of self-contained HTML pages: templates, embedded scripts, and thumbnails of photos."""

from __future__ import annotations

import base64
import hashlib
import io
from importlib import resources
from pathlib import Path
from typing import Any

from edge_effnet.errors import require

THUMBNAIL = 320  # pixels, longest side


def environment(*packages: str) -> Any:
    """A jinja2 environment that escapes all values and reads templates from ``packages``.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report")

    def load(name: str) -> str | None:
        for package in packages:
            if resources.files(package).joinpath(name).is_file():
                return resource(package, name)
        return None

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def resource(package: str, name: str) -> str:
    """Text of the file ``name`` in ``package``."""
    return resources.files(package).joinpath(name).read_text("utf-8")


def script_digest(script: str) -> str:
    """The script's sha256 in base64, as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def without_surrogates(text: str) -> str:
    """The text as it can be written in UTF-8; file names that are not UTF-8 hold surrogates."""
    return text.encode("utf-8", "replace").decode()


def thumbnail(path: Path, side: int = THUMBNAIL) -> str:
    """Small JPEG of a photo as a data URI.

    Args:
        path: The photo.
        side: Longest side in pixels.

    Raises:
        ImageError: The photo cannot be read.
    """
    from PIL import Image

    from edge_effnet.preprocess import load_image

    picture = load_image(path)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    # Pixels only: the page must not contain the photo's metadata (location, camera).
    bare = Image.frombytes(picture.mode, picture.size, picture.tobytes())
    stream = io.BytesIO()
    bare.save(stream, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
