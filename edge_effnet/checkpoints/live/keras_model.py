"""Reader of live Keras models through a temporary .keras file; Keras is not imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.accounting import KERAS_ONNX_WAY
from edge_effnet.checkpoints.keras import applications
from edge_effnet.checkpoints.live import state_dict
from edge_effnet.checkpoints.live.network import FLOAT_TOLERANCE, HALF_TOLERANCE, LiveNetwork
from edge_effnet.errors import CheckpointError

_LONGEST_ERROR = 200


def read(model: Any) -> LiveNetwork:
    """Weights and graph of ``model``; raises `CheckpointError`."""
    name = f"the Keras model {getattr(model, 'name', '')!r}"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
        except Exception as error:  # the user's own layers raise anything
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
            raise CheckpointError(f"{name} cannot be saved by Keras itself ({reason})") from error
        try:
            checkpoint = applications.read(path)
        except CheckpointError as error:
            message = error.message.replace(f"cannot read {path}", f"cannot read {name}")
            raise CheckpointError(message, hint=error.hint) from error
    described = checkpoint.described
    front = described.front if described is not None else None
    resizing = front.resizing if front is not None else None
    other_size = front is not None and front.problem is not None
    other_size = other_size or (resizing is not None and resizing.resize_first)
    return LiveNetwork(
        replace(checkpoint, path=Path(name), sha256=state_dict.digest(checkpoint.tensors)),
        run=None if other_size else lambda batch: _run(model, name, batch),
        pixels=bool(checkpoint.normalises),
        tolerance=HALF_TOLERANCE if _in_halves(model) else FLOAT_TOLERANCE,
        onnx=KERAS_ONNX_WAY,
    )


def _run(model: Any, name: str, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        outputs = model(np.ascontiguousarray(batch.transpose(0, 2, 3, 1)), training=False)
        if hasattr(outputs, "detach"):  # Keras with the torch backend
            outputs = outputs.detach().cpu()
        return np.asarray(outputs, np.float32)
    except Exception as error:  # the user's own layers raise anything
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        raise CheckpointError(
            f"{name} cannot be run on one batch of images to compare the outputs ({reason}); save "
            "it with model.save('model.keras') and give that file"
        ) from error


def _in_halves(model: Any) -> bool:
    """Whether any layer computes in float16 or bfloat16."""
    return any("float16" in str(getattr(x, "compute_dtype", "")) for x in model.layers)
