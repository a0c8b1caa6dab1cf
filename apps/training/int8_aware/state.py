"""State of an int8-aware training after each epoch, so that an interrupted training resumes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_effnet.apps.training.int8_aware.network import FakeQuantizedNetwork
from edge_effnet.apps.training.int8_aware.photos import Photos
from edge_effnet.apps.training.int8_aware.refinement import RefineSettings
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.files import replacing

_SCHEMA = 1


@dataclass(frozen=True)
class Best:
    """The parameters after the epoch with the least loss on the held-out photos."""

    epoch: int
    loss: float
    parameters: dict[str, Tensor]


def digest_of(
    quantized: QuantizedModel, train: Photos, held_out: Photos, settings: RefineSettings
) -> str:
    """Digest of a training's arguments: a state resumes only the training that wrote it."""
    digest = hashlib.sha256(repr((_SCHEMA, settings, train.paths, held_out.paths)).encode())
    for layer in quantized.plan.layers.values():
        digest.update(layer.weight.tobytes() + layer.bias.tobytes())
    return digest.hexdigest()


def load(state: Path | None, key: str) -> dict[str, Any] | None:
    """The saved state of the training ``key``; None if there is none."""
    if state is None or not state.is_file():
        return None
    try:
        saved = torch.load(state, weights_only=True, map_location="cpu")
    except Exception:  # a damaged file has many kinds of errors; training then starts again
        return None
    return saved if isinstance(saved, dict) and saved.get("key") == key else None


def save(
    state: Path | None,
    key: str,
    epoch: int,
    network: FakeQuantizedNetwork,
    optimizer: Any,
    best: Best | None,
) -> None:
    """Write the state after ``epoch`` atomically."""
    if state is None:
        return
    content = {
        "key": key,
        "epoch": epoch,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": None if best is None else vars(best),
    }
    with replacing(state) as temporary:
        torch.save(content, temporary)
