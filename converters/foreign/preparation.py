"""Preprocessing and outputs of a foreign network: what the user specifies, and the files' card."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from edge_effnet import digest
from edge_effnet.card import ModelCard, Source
from edge_effnet.converters.foreign.onnx_file import Network
from edge_effnet.errors import UsageError
from edge_effnet.labels import interpret
from edge_effnet.names import OutputActivation
from edge_effnet.notices import Notify
from edge_effnet.preprocess import CropMode, Interpolation, Preprocess

Channels = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class Preparation:
    """Preprocessing of photos and output activation; unspecified attributes are None.

    ``mean`` and ``std`` are in pixel units, 0..255.
    """

    mean: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float | None = None
    crop: float | None = None
    interpolation: Interpolation | None = None
    crop_mode: CropMode | None = None
    output_activation: OutputActivation | None = None


def describe(
    network: Network,
    preparation: Preparation,
    labels: str | os.PathLike[str] | None,
    say: Notify,
) -> ModelCard:
    """The card of a float file of ``network``.

    Args:
        network: The network.
        preparation: What the user specifies.
        labels: File of class names.
        say: Called with notes on the class names.

    Raises:
        UsageError: The preprocessing is unknown, or the class names do not fit.
    """
    side, original = network.input.size[0], network.card
    start = original.preprocess if original else None
    if start is None:
        if preparation.mean is None or preparation.std is None:
            raise UsageError(
                f"the preprocessing of {network.file} is unknown",
                hint="give mean= and std= in pixel units (ImageNet's: "
                "mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))",
            )
        start = Preprocess(side, 1.0)
    preprocess = replace(
        start,
        size=side,
        crop=start.crop if preparation.crop is None else preparation.crop,
        interpolation=preparation.interpolation or start.interpolation,
        mean=_three("mean", preparation.mean, start.mean),
        std=_three("std", preparation.std, start.std),
        crop_mode=preparation.crop_mode or start.crop_mode,
    )
    known = original if original and original.outputs == network.classes else None
    reading = interpret(
        network.file,
        network.classes,
        preparation.output_activation
        or (known.output_activation if known else None)
        or network.activation,
        labels,
        known.labels if known else None,
    )
    for note in reading.notes:
        say(note)
    return ModelCard(
        variant=network.name,
        preprocess=preprocess,
        labels=reading.labels,
        source=Source("onnx", network.file, network.sha256),
        output_activation=reading.activation,
        multi_label=reading.multi_label,
        digest=digest.PLACEHOLDER,
    )


def _three(name: str, value: tuple[float, ...] | float | None, default: Channels) -> Channels:
    if value is None:
        return default
    values = value if isinstance(value, tuple) else (value,) * 3
    if len(values) != 3 or (name == "std" and min(values) <= 0):
        raise UsageError(f"{name} takes one number or three (R, G, B), not {value}")
    red, green, blue = map(float, values)
    return red, green, blue
