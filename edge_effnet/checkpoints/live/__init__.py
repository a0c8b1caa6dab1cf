"""Live networks as checkpoints: torch.nn.Module, Keras model, or mapping of names to arrays.

This package imports no framework: a live object's framework is already loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_effnet.checkpoints.live import keras_model, state_dict, torch_module
from edge_effnet.checkpoints.live.network import LiveNetwork
from edge_effnet.errors import UsageError

__all__ = ["LiveNetwork", "open_live"]


def open_live(weights: object) -> LiveNetwork:
    """The checkpoint of a live object.

    Raises:
        UsageError: The object is of another kind.
        CheckpointError: Its weights cannot be read.
    """
    if isinstance(weights, Mapping):
        return LiveNetwork(state_dict.read(weights, "the state_dict"))
    for kind in type(weights).__mro__:
        package = kind.__module__.split(".")[0]
        if package == "torch" and kind.__name__ == "Module":
            return torch_module.read(weights)
        if package in ("keras", "tf_keras", "tensorflow") and kind.__name__ == "Model":
            return keras_model.read(weights)
    raise UsageError(
        f"weights of the type {type(weights).__name__} are no checkpoint",
        hint="give a path, 'imagenet', 'random', a torch.nn.Module, a keras.Model, or a dict of "
        "named tensors",
    )
