"""Reader of ``.pth``, ``.pt`` and ``.safetensors`` files as numpy arrays, without PyTorch.

`containers.Container` gives the structure of a file. This module selects the network's weights in
the structure and converts their bytes to arrays.
"""

from __future__ import annotations

import itertools
import math
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import json_text
from edge_effnet.checkpoints.readers.class_names import class_names, names_in_config
from edge_effnet.checkpoints.readers.containers import (
    Container,
    damaged,
    open_container,
    shown,
    unsupported,
)
from edge_effnet.checkpoints.readers.damage import DAMAGE, most_unpacked
from edge_effnet.checkpoints.readers.losses import binary_loss
from edge_effnet.checkpoints.readers.values import Tensor
from edge_effnet.checkpoints.readers.weights import find_weights
from edge_effnet.checkpoints.source import Checkpoint, ClassNames, Reader
from edge_effnet.errors import CheckpointError
from edge_effnet.files import missing

_MOST_WORDS, _LONGEST_WORD = 1000, 200

_NUMPY = {  # PyTorch's type -> (numpy type in the file, numpy type of the result)
    "float64": ("f8", "f4"),
    "float32": ("f4", "f4"),
    "float16": ("f2", "f4"),
    "bfloat16": ("u2", "f4"),  # read as uint16: the upper half of a float32
    "int64": ("i8", "i8"),
    "int32": ("i4", "i4"),
    "int16": ("i2", "i2"),
    "int8": ("i1", "i1"),
    "uint64": ("u8", "u8"),
    "uint32": ("u4", "u4"),
    "uint16": ("u2", "u2"),
    "uint8": ("u1", "u1"),
    "bool": ("u1", "?"),  # read as uint8, because a damaged file may have other values than 0 and 1
}


def read(path: Path) -> Checkpoint:
    """The checkpoint in a PyTorch or safetensors file.

    The checkpoint's ``words`` hold text metadata: the metadata of a safetensors file, or the short
    strings in a PyTorch file, for example the name of the architecture.

    Raises:
        CheckpointError: The file cannot be read.
    """
    return _read(path)


#: Reader for all files that no other reader recognises; its errors say why a file is no checkpoint.
READER = Reader(lambda path, start: True, read)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The weights in a checkpoint by name, in the order of the file.

    Reads safetensors files and files of ``torch.save`` (zip and legacy format). No code from the
    file is run. float16, bfloat16 and float64 become float32; integers and bool keep their type.
    Arrays are C-contiguous and read-only. Wrappers such as ``{"state_dict": ...}`` are opened.
    Averaged (EMA) weights are preferred. Prefixes such as ``module.`` are removed if all names
    share them.

    Raises `CheckpointError` if the file is missing, damaged, unsafe, of another format, or has no
    named tensors.
    """
    return dict(_read(path).tensors)


def _read(path: str | os.PathLike[str]) -> Checkpoint:
    original_path = Path(path)
    path = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise CheckpointError(f"it is {kind}; give the path of one checkpoint file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            source = open_container(file, size)
            weights = find_weights(source.tree)
            words = source.words or dict(_words(source.tree, 1))
            notes: tuple[str, ...] = ()
            if weights.copies:
                left_out = ", ".join(weights.copies)
                notes = (
                    f"{original_path.name} holds other copies of the network, left out: {left_out}",
                )
            return Checkpoint(
                original_path,
                _arrays(weights.network, source, size),
                words,
                outside=_arrays(weights.beside, source, size),
                notes=notes,
                structure=weights.structure,
                class_names=_class_names(source, original_path),
                binary_loss=binary_loss(source.tree),
            )
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except FileNotFoundError as error:
        raise CheckpointError(missing(path)) from error
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}; check the file and its permissions"
        ) from error
    except MemoryError as error:
        raise CheckpointError(
            f"cannot read {path}: it needs more memory than there is; save only its state_dict, "
            "or use a larger machine"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(
            f"cannot read {path}: {damaged('its structure is broken')}"
        ) from error


def _class_names(source: Container, path: Path) -> tuple[ClassNames, ...]:
    """Class names in a PyTorch file, in a safetensors file's metadata, or in config.json."""
    metadata: dict[str, object] = {}
    for key, text in source.words.items():
        with suppress(ValueError):
            metadata[key] = json_text.parse(text)
    names = class_names(metadata if source.words else source.tree, path.name)
    return names or names_in_config(path)


def _words(node: object, depth: int) -> Iterator[tuple[str, str]]:
    """(Key, text) of the short texts in the checkpoint's dict and in nested dicts."""
    if not isinstance(node, dict):
        return
    for name, item in itertools.islice(node.items(), _MOST_WORDS):
        if isinstance(item, str) and len(item) <= _LONGEST_WORD:
            yield name, item
        elif depth:
            yield from _words(item, depth - 1)


def _arrays(tensors: dict[str, Tensor], source: Container, size: int) -> dict[str, NDArray[Any]]:
    data: dict[str, bytes] = {}
    needed = 0
    for name, tensor in tensors.items():
        if not name.isprintable():
            raise damaged(f"a tensor in it is called {shown(name)}")
        if tensor.dtype.name not in _NUMPY:
            raise unsupported(name, tensor.dtype.name)
        needed += math.prod(tensor.shape) * np.dtype(_NUMPY[tensor.dtype.name][1]).itemsize
        if needed > most_unpacked(size):
            raise CheckpointError(
                f"its tensors repeat {size:,} bytes of data into more than {needed:,}, as no real "
                "network does; do not use it"
            )
        if tensor.storage.key not in data:
            data[tensor.storage.key] = source.fetch(tensor.storage)
    return {
        name: _array(name, tensor, data[tensor.storage.key], source.byteorder)
        for name, tensor in tensors.items()
    }


def _array(name: str, tensor: Tensor, data: bytes, byteorder: str) -> NDArray[Any]:
    stored, returned = _NUMPY[tensor.dtype.name]
    dtype = np.dtype(byteorder + stored)
    if 0 in tensor.shape:
        return _frozen(np.empty(tensor.shape, returned))
    last = tensor.offset + sum(
        (size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True)
    )
    if (last + 1) * dtype.itemsize > len(data):
        raise damaged(f"tensor {shown(name)} reaches past the end of its data")
    strides = [step * dtype.itemsize for step in tensor.stride]
    view = np.ndarray(tensor.shape, dtype, data, tensor.offset * dtype.itemsize, strides)
    if tensor.dtype.name == "bfloat16":
        halves = view.reshape(-1).astype(np.uint32)
        return _frozen((halves << 16).view(np.float32).reshape(tensor.shape))
    with np.errstate(
        all="ignore"
    ):  # float64 values beyond float32's range become inf without a warning
        return _frozen(view.astype(returned, order="C", copy=False))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
