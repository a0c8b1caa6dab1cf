"""`Window`: the part of a photo that is resized, and its position in the network's input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Part of a photo that is resized, and its position in the network's input.

    Attributes:
        left: First column, in pixels of the photo.
        top: First row.
        width: Number of columns.
        height: Number of rows.
        columns: Width after resizing, in pixels of the network's input.
        rows: Height after resizing, in pixels of the network's input.
        x: First column within the input; columns outside the resized part are border.
        y: First row within the input.
    """

    left: int
    top: int
    width: int
    height: int
    columns: int
    rows: int
    x: int = 0
    y: int = 0


def central(length: int, span: int, size: int, keras: bool = False) -> tuple[int, int, int, int]:
    """One axis of a `Window` for a centre crop.

    The crop is the central ``span`` of the photo's ``length`` pixels; resized, it fills the input's
    ``size`` pixels. If the margins are unequal, the first is larger; with ``keras``, the last.

    Returns:
        First pixel and number of pixels in the photo, their number after resizing, and their offset
        in the input.
    """
    return (length - span + (not keras)) // 2, span, size, 0


def bordered(length: int, side: int, size: int, keras: bool = False) -> tuple[int, int, int, int]:
    """As `central`, for the crop mode ``border``: the input covers ``side`` pixels.

    If the photo has fewer pixels along this axis (``length``), the rest of the input is border.
    """
    if length >= side:
        return central(length, side, size, keras)
    resized = min(size, max(1, round(length * size / side)))
    return 0, length, resized, (size - resized) // 2
