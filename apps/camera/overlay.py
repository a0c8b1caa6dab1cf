"""Drawing of a `Scene`: picture, probability bars, and metrics."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edge_effnet.apps.camera import heat, opencv
from edge_effnet.apps.camera.scene import Panel, Scene

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]

#: Minimum height in pixels. Smaller pictures are enlarged so that the text fits.
LEAST_HEIGHT = 480
WHITE: Colour = (245, 245, 245)
GREY: Colour = (185, 185, 185)
ACCENT: Colour = (90, 200, 255)  # BGR
ALARM: Colour = (80, 110, 255)
_SHADE = 0.35  # brightness factor under a panel
KEYS = "space pause   n next model   b side by side   c heat map   s screenshot   q quit"


def draw(scene: Scene, keys: bool = True) -> Canvas:
    """Picture of ``scene``, uint8 BGR [height, width, 3], height at least `LEAST_HEIGHT`."""
    canvas = _enlarged(picture(scene))
    height, width = canvas.shape[:2]
    size = max(13, min(height, width) // 30)
    line = int(size * 1.45)
    metrics = scene.metrics
    _shade(canvas, 0, 0, width, line + size // 2)
    title = scene.panels[0].title if len(scene.panels) == 1 else "side by side"
    _text(canvas, title, size // 2, size // 2, size, WHITE)
    right = (
        f"camera {metrics.camera_fps:.0f} fps   model {metrics.inference_fps:.0f} fps   "
        f"delay {metrics.delay_ms:.0f} ms   dropped {metrics.dropped}"
    )
    _text(canvas, right, width - size // 2, size // 2, size, GREY, anchor="right")
    _panels(canvas, scene, size, line)
    note = scene.status or ("paused" if scene.paused else "")
    if note:
        _banner(canvas, note, size, ALARM if scene.status else WHITE)
    bottom, colour = (scene.notice, ACCENT) if scene.notice else (KEYS if keys else "", GREY)
    if bottom:
        _text(canvas, bottom, width // 2, height - line, int(size * 0.85), colour, "middle")
    return canvas


def picture(scene: Scene) -> Canvas:
    """The frame, with the heat map overlay if there is an activation map."""
    if scene.heat is None or scene.window is None:
        return scene.frame.image
    strength = heat.strength(scene.heat)
    return heat.lay_over(scene.frame.image, strength, scene.window, scene.size)


def _enlarged(image: Canvas) -> Canvas:
    """A copy of the image, enlarged to `LEAST_HEIGHT`."""
    cv2 = opencv.load()
    height, width = image.shape[:2]
    if height >= LEAST_HEIGHT:
        return image.copy()
    factor = LEAST_HEIGHT / height
    size = (max(LEAST_HEIGHT, round(width * factor)), LEAST_HEIGHT)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _panels(canvas: Canvas, scene: Scene, size: int, line: int) -> None:
    height, width = canvas.shape[:2]
    count = len(scene.panels)
    gap = size // 2
    room = (width - gap) // max(count, 1) - gap
    wide = min(room, size * 21)
    bottom = height - line - gap  # leaves a line for the keys
    if scene.difference:
        bottom -= line
        _shade(canvas, 0, bottom + gap // 2, width, line)
        _text(canvas, scene.difference, width // 2, bottom + gap // 2, size, ACCENT, "middle")
    for number, panel in enumerate(scene.panels):
        x = gap if number < count - 1 or count == 1 else width - wide - gap
        if 0 < number < count - 1:
            x = gap + number * (room + gap)
        _panel(canvas, panel, (x, bottom, wide), size, line, titled=count > 1)


def _panel(
    canvas: Canvas,
    panel: Panel,
    corner: tuple[int, int, int],
    size: int,
    line: int,
    titled: bool,
) -> None:
    """Draw a panel's bars upwards from ``corner``: (left, bottom, width)."""
    x, bottom, wide = corner
    row = line + size // 2
    tall = row * (len(panel.top) + bool(panel.doubt)) + size + line
    y = bottom - tall
    _shade(canvas, x, y, wide, tall)
    inner, pad = wide - size, size // 2
    head = panel.title if titled else "prediction"
    _text(canvas, head, x + pad, y + pad, int(size * 0.85), GREY, room=inner - 5 * size)
    time = f"{panel.milliseconds:.1f} ms"
    _text(canvas, time, x + wide - pad, y + pad, int(size * 0.85), GREY, anchor="right")
    y += pad + line
    if panel.doubt:
        _text(canvas, panel.doubt, x + pad, y, size, WHITE, room=inner)
        y += row
    for number, (label, probability) in enumerate(panel.top):
        colour = WHITE if number == 0 and not panel.doubt else GREY
        _text(canvas, label, x + pad, y, size, colour, room=inner - 4 * size)
        _text(canvas, f"{probability:.0%}", x + wide - pad, y, size, colour, anchor="right")
        length = round(inner * min(max(probability, 0.0), 1.0))
        bar = y + line - 1
        canvas[bar : bar + max(size // 6, 2), x + pad : x + pad + inner] = (70, 70, 70)
        canvas[bar : bar + max(size // 6, 2), x + pad : x + pad + length] = (
            GREY if panel.doubt else ACCENT
        )
        y += row


def _banner(canvas: Canvas, text: str, size: int, colour: Colour) -> None:
    height, width = canvas.shape[:2]
    large = int(size * 1.4)
    _shade(canvas, 0, height // 3 - large, width, large * 3)
    _text(canvas, text, width // 2, height // 3 - large // 4, large, colour, "middle", width - size)


def _shade(canvas: Canvas, x: int, y: int, width: int, height: int) -> None:
    """Darken a rectangle."""
    inside = canvas[max(y, 0) : y + height, max(x, 0) : x + width]
    if inside.size:
        inside[:] = opencv.load().convertScaleAbs(inside, alpha=_SHADE)


def _text(
    canvas: Canvas,
    text: str,
    x: int,
    y: int,
    size: int,
    colour: Colour,
    anchor: str = "left",
    room: int | None = None,
) -> None:
    """Draw ``text`` with its top at ``y``, shortened to ``room`` pixels."""
    mask = _mask(text, size, room or canvas.shape[1] - size)
    height, width = mask.shape[:2]
    if anchor != "left":
        x -= width if anchor == "right" else width // 2
    x = max(x, 0)
    inside = canvas[max(y, 0) : y + height, x : x + width]
    share = mask[: inside.shape[0], : inside.shape[1]]
    inside[:] = (inside + share * (np.array(colour, np.float32) - inside)).astype(np.uint8)


@lru_cache(maxsize=128)
def _mask(text: str, size: int, room: int) -> NDArray[np.float32]:
    """Opacity 0..1 of each pixel of the drawn ``text``, float32 [height, width, 1]."""
    font = _font(size)
    while len(text) > 1 and font.getlength(text) > room:
        text = text.removesuffix("…")[:-1] + "…"
    width = max(int(font.getlength(text)) + 2, 1)
    drawn = Image.new("L", (width, int(size * 1.4)))
    ImageDraw.Draw(drawn).text((0, 0), text, fill=255, font=font)
    return np.asarray(drawn, np.float32)[:, :, None] / np.float32(255)


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    """Pillow's built-in font: equal on all machines, but with Latin letters only."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # before Pillow 10.1 the font has one size
        return ImageFont.load_default()
