"""Conversion of grey-input checkpoints to RGB input; other channel counts are refused.

A grey network reads 0.299 R + 0.587 G + 0.114 B (ITU-R 601, as Pillow's ``convert("L")`` and
torchvision's ``Grayscale`` compute it). Its first convolution is linear. RGB filters that are the
grey filter times 0.299, 0.587 and 0.114 therefore give the same outputs. This needs an equal mean
and deviation for all channels. On grey photos (R = G = B) the outputs are equal up to float
rounding. On colour photos they differ slightly, because the original preprocessing rounds the grey
value to an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.source import Checkpoint, Source
from edge_effnet.errors import CheckpointError
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess
from edge_effnet.variants import Variant

Floats = NDArray[np.float32]

#: Weights of red, green and blue in the grey value (ITU-R 601).
LUMA = (0.299, 0.587, 0.114)
_RGB = 3
NOTE = (
    "the network takes one grey channel: its first convolution was multiplied by 0.299, 0.587 and "
    "0.114 to take RGB, so colour photos are seen in grey"
)


def as_rgb(checkpoint: Checkpoint, source: Source, variant: Variant) -> tuple[Checkpoint, bool]:
    """``checkpoint`` with three input channels, and whether it had one channel before.

    Raises:
        CheckpointError: The first convolution has neither one nor three input channels.
    """
    name = source.names(build(variant))["stem.conv.weight"]
    values = checkpoint.tensors.get(name)
    pytorch = name.endswith(".weight")  # [out, in, height, width], else [height, width, in, out]
    if values is None or values.ndim != 4 or values.dtype.kind != "f":
        return checkpoint, False
    channels = values.shape[1 if pytorch else 2]
    if channels == _RGB:
        return checkpoint, False
    if channels != 1:
        raise CheckpointError(
            f"{checkpoint.path} takes {channels} input channels, and photos have three: red, green "
            "and blue",
            hint="train a network of three channels; data of more channels needs another runtime",
        )
    shares = np.asarray(LUMA).reshape((1, _RGB, 1, 1) if pytorch else (1, 1, _RGB, 1))
    folded = (values.astype(np.float64) * shares).astype(np.float32)
    return replace(checkpoint, tensors={**checkpoint.tensors, name: folded}), True


def grey_run(run: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """Wrap ``run`` of a one-channel network: RGB batches [n, 3, side, side] are converted to grey.

    Args:
        run: A function of grey batches [n, 1, side, side].

    Returns:
        A function of RGB batches with the same outputs.
    """

    def of_rgb(batch: Floats) -> Floats:
        grey = np.tensordot(batch, np.asarray(LUMA, np.float32), axes=(1, 0))
        return run(np.ascontiguousarray(grey[:, None], dtype=np.float32))

    return of_rgb


def check_grey_normalisation(checkpoint: Checkpoint, preprocess: Preprocess) -> None:
    """Raise `CheckpointError` if mean or deviation differ between channels: grey has one each."""
    if len(set(preprocess.mean)) == 1 and len(set(preprocess.std)) == 1:
        return
    raise CheckpointError(
        f"{checkpoint.path} takes one grey channel, and its mean and deviation are not recorded",
        hint="give one number each, in pixel units: mean=0, std=255 if grey values were 0..1, "
        "mean=127.5, std=127.5 for -1..1, or 255 times the numbers of Normalize",
    )
