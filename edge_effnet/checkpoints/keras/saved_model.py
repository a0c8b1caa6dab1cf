"""Keras 2's SavedModel folders, and Keras 2 weights in TensorFlow's checkpoint format.

Both store variables named ``layer/part`` in a tensor bundle. A SavedModel also has the config, in
keras_metadata.pb (SavedMetadata of keras/protobuf/saved_metadata.proto).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import json_text, reading
from edge_effnet.checkpoints.keras.weights import KerasCheckpoint, checkpoint_of
from edge_effnet.checkpoints.readers.damage import DAMAGE
from edge_effnet.checkpoints.readers.hdf5 import WEIGHTED, Layer, named_layers
from edge_effnet.checkpoints.source import Reader
from edge_effnet.checkpoints.tensorflow.bundle import Bundle, open_bundle
from edge_effnet.errors import CheckpointError
from edge_effnet.protobuf import fields

#: Variable that identifies a bundle from Keras Applications.
STEM = "stem_conv/kernel"
_GRAPH, _METADATA = "saved_model.pb", "keras_metadata.pb"
_LARGEST_METADATA = 64 << 20
_PARTS = {*(part for parts in WEIGHTED.values() for part in parts), "depthwise_kernel"} - {"count"}
#: Model name for all layers of a bundle. A bundle has no layers without weights.
_MODEL = "network"


def recognises(path: Path, start: bytes) -> bool:
    """Whether the path is a SavedModel folder, or its saved_model.pb."""
    return (path / _GRAPH).is_file() or (path.name == _GRAPH and path.is_file())


def read(path: Path) -> KerasCheckpoint:
    """The network in a SavedModel written by Keras 2; raises `CheckpointError`."""
    folder = path if path.is_dir() else path.parent
    try:
        metadata = folder / _METADATA
        config = _config(metadata) if metadata.is_file() else None
        if config is None:
            raise CheckpointError(
                "it is a SavedModel that does not list its layers (model.export makes such); "
                "convert it to .onnx: 'pip install tf2onnx', then 'python -m tf2onnx.convert "
                f"--saved-model {folder} --output model.onnx', and give model.onnx"
            )
        bundle = open_bundle(folder / "variables" / "variables.index")
        checkpoint = checkpoint_of(path, _layers(bundle), config)
        return replace(checkpoint, files=(metadata, *bundle.files))
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise CheckpointError(f"cannot read {path}: {reason}; give a whole SavedModel") from error
    except (*DAMAGE, MemoryError) as error:
        raise CheckpointError(
            f"cannot read {path}: its structure is broken; fetch it or save it again"
        ) from error


def of_bundle(path: Path, bundle: Bundle) -> KerasCheckpoint:
    """The network in a bundle that ``model.save_weights`` wrote in TensorFlow's format."""
    return replace(checkpoint_of(path, _layers(bundle), None), files=bundle.files)


def _layers(bundle: Bundle) -> list[Layer]:
    """The layers with weights; variables of optimizers and metrics are skipped."""
    variables: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name in bundle.entries:
        layer, _, variable = name.partition("/")
        if variable in _PARTS:
            variables.setdefault(layer, {})[variable] = bundle.array(name)
    return named_layers(variables, dict.fromkeys(variables, _MODEL))


def _config(path: Path) -> Mapping[str, Any] | None:
    """Config of the root object; None if the file has none."""
    if path.stat().st_size > _LARGEST_METADATA:
        raise CheckpointError(f"its {_METADATA} is larger than any real one; do not use it")
    for number, node in fields(reading.read_bytes(path)):
        values = dict(fields(node)) if number == 1 else {}
        if values.get(3) == b"root":
            content = json_text.parse(values[5], pairs=_without_tuples)
            return content if isinstance(content.get("config"), dict) else None
    return None


def _without_tuples(pairs: list[tuple[str, Any]]) -> Any:
    """Value of a JSON object; TensorFlow's tuple objects become lists."""
    content = dict(pairs)
    return content["items"] if content.get("class_name") == "__tuple__" else content


READER = Reader(recognises, read)
