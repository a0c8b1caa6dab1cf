"""State of an int8-aware training after each epoch, so that an interrupted training resumes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_effnet.apps.training import torch_files
from edge_effnet.apps.training.int8_aware.network import FakeQuantizedNetwork
from edge_effnet.apps.training.int8_aware.photos import Photos
from edge_effnet.apps.training.int8_aware.refinement import RefineSettings
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.calibration.plan import QuantPlan

_SCHEMA = 1


@dataclass(frozen=True)
class Best:
    """The parameters after the epoch with the least loss on the held-out photos."""

    epoch: int
    loss: float
    parameters: dict[str, Tensor]


def digest_of(plan: QuantPlan, train: Photos, held_out: Photos, settings: RefineSettings) -> str:
    """Digest of a training's arguments: a state resumes only the training that wrote it."""
    photos = [(part.paths, part.labels) for part in (train, held_out)]
    options = replace(settings, threads=0, device="")  # do not change what is computed
    digest = hashlib.sha256(repr((_SCHEMA, options, photos)).encode())
    digest.update(repr(plan.quant_params).encode())
    for layer in plan.layers.values():
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
    rows: Sequence[EpochMetrics],
    network: FakeQuantizedNetwork,
    optimizer: Any,
    best: Best | None,
) -> None:
    """Write the state after the epochs of ``rows`` atomically."""
    if state is None:
        return
    content = {
        "key": key,
        "rows": [asdict(row) for row in rows],
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": None if best is None else vars(best),
    }
    torch_files.write(state, content)
