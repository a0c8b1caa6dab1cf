"""The site's icon as a PNG: probability bars within the safe zone of a maskable icon."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

_GROUND, _BARS = "#111418", ("#ffc85a", "#98a2ae", "#4b5563")
_LENGTHS = (0.52, 0.32, 0.18)  # bar lengths relative to the side
_SAFE = 0.24  # margin relative to the side: masks may cut the outer fifth (w3.org/TR/appmanifest)
_FINER = 4  # supersampling factor, for smooth edges


def draw(side: int) -> bytes:
    """A square PNG of ``side`` pixels."""
    large = side * _FINER
    picture = Image.new("RGB", (large, large), _GROUND)
    pen = ImageDraw.Draw(picture)
    height, gap = 0.12 * large, 0.08 * large
    top = (large - 3 * height - 2 * gap) / 2
    for length, colour in zip(_LENGTHS, _BARS, strict=True):
        box = (_SAFE * large, top, (_SAFE + length) * large, top + height)
        pen.rounded_rectangle(box, radius=height / 2, fill=colour)
        top += height + gap
    stream = io.BytesIO()
    picture.resize((side, side), Image.Resampling.LANCZOS).save(stream, "PNG", optimize=True)
    return stream.getvalue()
