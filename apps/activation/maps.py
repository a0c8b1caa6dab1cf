"""Class activation maps from a feature map and classifier weights, shared by all runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import ModelFileError


def weigh(features: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class activation map [H, W] from a feature map [C, H, W] and a class's weights [C]."""
    return np.asarray(np.tensordot(weights, features, axes=1), np.float32)


def rows_of(weights: NDArray[Any], channels: int, name: str) -> NDArray[np.float32]:
    """Classifier weights as float32 [classes, channels]; ``weights`` may be the transpose."""
    table = np.asarray(weights, np.float32).reshape([side for side in weights.shape if side != 1])
    if table.ndim == 2 and table.shape[1] == channels:
        return np.ascontiguousarray(table)
    if table.ndim == 2 and table.shape[0] == channels:
        return np.ascontiguousarray(table.T)
    raise no_map(name, f"its dense layer's weights are {list(weights.shape)}")


def no_map(name: str, cause: str) -> ModelFileError:
    """The error for a network that has no class activation map."""
    return ModelFileError(
        f"{name} has no class activation map ({cause}): that needs a global average pool followed "
        "by one dense layer"
    )
