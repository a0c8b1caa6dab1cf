"""Reader of mappings from names to torch tensors or numpy arrays; imports no framework."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.accounting import is_training_state
from edge_effnet.checkpoints.readers.class_names import class_names
from edge_effnet.checkpoints.readers.weights import WRAPPERS, without_prefixes
from edge_effnet.checkpoints.source import Checkpoint
from edge_effnet.errors import CheckpointError

_MOST_WRAPPERS = 4


def read(mapping: Mapping[Any, Any], name: str) -> Checkpoint:
    """The tensors of a state_dict, or of the state_dict inside a training script's checkpoint.

    Raises:
        CheckpointError: There are no tensors, or a tensor cannot be converted to float values.
    """
    named = _find(mapping, _MOST_WRAPPERS)
    if not named:
        raise CheckpointError(
            f"{name} holds no named tensors; give module.state_dict(), or the path of a checkpoint"
        )
    tensors = {key: _array(key, value) for key, value in without_prefixes(named).items()}
    beside = {key: _array(key, value) for key, value in _beside(mapping, named).items()}
    words = {key: text for key, text in mapping.items() if isinstance(text, str)}
    return Checkpoint(
        Path(name),
        tensors,
        words,
        sha256=digest(tensors),
        outside=beside,
        class_names=class_names(mapping, name),
    )


def digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """The sha256 over names, shapes and values."""
    hasher = hashlib.sha256()
    for name, values in tensors.items():
        hasher.update(f"{name}{values.shape}{values.dtype.str}".encode())
        hasher.update(np.ascontiguousarray(values).data)
    return hasher.hexdigest()


def _find(mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """The tensors of ``mapping``, or of the first nested mapping that has tensors."""
    for wrapper in WRAPPERS if depth else ():
        inner = mapping.get(wrapper)
        if isinstance(inner, Mapping):
            inner_tensors = _find(inner, depth - 1)
            if any(getattr(value, "shape", ()) for value in inner_tensors.values()):
                return inner_tensors
    return {name: v for name, v in mapping.items() if isinstance(name, str) and _is_tensor(v)}


def _beside(
    mapping: Mapping[Any, Any], chosen: Mapping[str, Any], path: str = "", depth: int = 0
) -> dict[str, Any]:
    """Tensors of the other nested mappings by path: a separate head, for example.

    Training state and copies of the network, which have at least half of its names, are omitted.
    """
    tensors = {name: v for name, v in mapping.items() if isinstance(name, str) and _is_tensor(v)}
    same = tensors.keys() & chosen.keys()
    others: dict[str, Any] = {}
    if not same or len(same) < len(tensors) / 2:
        full = {f"{path}{name}": value for name, value in tensors.items() if value.shape}
        others = {name: value for name, value in full.items() if not is_training_state(name)}
    for key, inner in mapping.items() if depth < _MOST_WRAPPERS else ():
        if isinstance(inner, Mapping):
            others |= _beside(inner, chosen, f"{path}{key}.", depth + 1)
    return others


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray) or _is_torch(value)


def _is_torch(value: object) -> bool:
    return any(
        kind.__module__.split(".")[0] == "torch" and kind.__name__ in ("Tensor", "TensorBase")
        for kind in type(value).__mro__
    )


def _array(name: str, value: Any) -> NDArray[Any]:
    """Values of a tensor as a numpy array: floats as float32, integers unchanged."""
    if _is_torch(value):
        if value.is_quantized or value.is_meta or value.is_complex():
            kind = "quantized" if value.is_quantized else "without real values"
            raise CheckpointError(
                f"the tensor {name} is {kind}; give the float network that it was made from"
            )
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    values = np.asarray(value)
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        with np.errstate(
            over="ignore"
        ):  # float64 values beyond float32's range become inf without a warning
            values = np.array(values, np.float32)  # copied, because training may continue
    else:
        values = values.copy()
    values.flags.writeable = False
    return values
