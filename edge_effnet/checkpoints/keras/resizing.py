"""Layers of Keras that resize or crop photos of any size before the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_effnet.checkpoints.keras.layers import KerasLayer
from edge_effnet.errors import CheckpointError
from edge_effnet.preprocess import CropMode, Interpolation

#: Layers that change the image size at inference too.
SIZES = {"Resizing", "CenterCrop", "RandomCrop"}
_FILTERS: dict[str, Interpolation] = {
    "bilinear": "keras-bilinear",
    "bicubic": "keras-bicubic",
    "nearest": "keras-nearest",
}


@dataclass(frozen=True)
class Resizing:
    """Fields of `Preprocess` that reproduce the layers."""

    interpolation: Interpolation
    crop_mode: CropMode
    crop: float = 1.0
    resize_first: bool = False


def side_of(layer: KerasLayer) -> int:
    """Side of the square that ``layer`` gives; raises `CheckpointError` for other shapes."""
    height, width = layer.settings["height"], layer.settings["width"]
    if height != width:
        raise CheckpointError(
            f"its layer {layer.name!r} gives {height} x {width} pixels; only squares can be read"
        )
    return int(height)


def read_resizing(
    layers: Sequence[KerasLayer], side: int | None, input_type: str
) -> Resizing | str:
    """The settings that reproduce ``layers``, or why these cannot be reproduced.

    Args:
        layers: One or more layers in ``SIZES``, in order.
        side: Side of the model's input; None for photos of any size.
        input_type: Type of the input's elements.

    Keras's Resizing (keras/src/layers/preprocessing/image_preprocessing/resizing.py) samples
    without antialiasing by default, after a centre crop with ``crop_to_aspect_ratio``.
    """
    first, *others = layers
    name = f"its layer {first.name!r} ({first.kind})"
    settings = first.settings
    if side is not None:
        return (
            f"{name} changes the size of an input of {side} x {side} pixels, and the file does not "
            "tell how photos are resized to that"
        )
    if first.kind != "Resizing":
        return f"{name} crops photos of any size without resizing them"
    interpolation = _FILTERS.get(str(settings.get("interpolation", "bilinear")).lower())
    if interpolation is None:
        return f"{name} resizes by {settings['interpolation']}, which is not reproduced here"
    if settings.get("antialias") and interpolation != "keras-nearest":
        return f"{name} antialiases in floating point, which is not reproduced here"
    if settings.get("pad_to_aspect_ratio"):
        return f"{name} pads photos to squares, which is not reproduced here"
    if "int" in input_type:
        return f"{name} rounds its result to {input_type}, which is not reproduced here"
    crops = bool(settings.get("crop_to_aspect_ratio"))
    if not others:
        return Resizing(interpolation, "center" if crops else "squash")
    last, resized = others[-1], side_of(first)
    if len(others) > 1 or last.kind != "CenterCrop" or crops or side_of(last) > resized:
        return (
            f"{name} and {', '.join(repr(layer.name) for layer in others)} change the size one "
            "after another, which is not reproduced here"
        )
    return Resizing(interpolation, "squash", side_of(last) / resized, True)
