"""A small writer of PyTorch's and safetensors' files, down to every hostile detail.

A value is emitted as the opcodes that leave it on a pickle's stack; `Code` stands for opcodes that
are written as they are.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edge_effnet.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_CLASSES = {
    "f4": "Float",
    "f2": "Half",
    "f8": "Double",
    "i8": "Long",
    "u1": "Byte",
    "c8": "Complex",
}


@dataclass(frozen=True)
class Code:
    """Opcodes that leave one value on the stack."""

    code: bytes


def name(module: str, attribute: str) -> Code:
    """Opcodes that look a global up."""
    return Code(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n")


def call(function: Code, *arguments: Any) -> Code:
    """Opcodes that call a function."""
    return Code(function.code + emit(arguments) + b"R")


def emit(value: Any) -> bytes:
    """The opcodes of plain data, of protocol 2 and later."""
    match value:
        case Code(code):
            return code
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = pickle.encode_long(value)
            return b"\x8b" + struct.pack("<i", len(data)) + data
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case list():
            return b"](" + b"".join(map(emit, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case dict():
            return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
    raise TypeError(value)


def program(value: Any) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + emit(value) + b"."


def pickled(thing: object, protocol: int = 2) -> Code:
    """The opcodes with which Python itself pickles a value."""
    data = pickle.dumps(thing, protocol)
    assert data[0] == 0x80
    return Code(data[2:-1])


@dataclass
class CheckpointWriter:
    """Collects storages while a tree is described, then writes either format."""

    legacy: bool

    def __post_init__(self) -> None:
        self.storages: dict[str, tuple[int, bytes]] = {}

    def storage(self, array: np.ndarray, cls: str | None = None, length: int | None = None) -> Code:
        key = str(len(self.storages))
        self.storages[key] = (array.size, array.tobytes())
        cls = cls or _CLASSES[array.dtype.str[1:]] + "Storage"
        view = (None,) if self.legacy else ()
        size = array.size if length is None else length
        return Code(emit(("storage", name("torch", cls), key, "cpu", size, *view)) + b"Q")

    def view(self, storage: Code, offset: int, shape: tuple, stride: tuple) -> Code:
        hooks = call(name("collections", "OrderedDict"))
        rebuild = name("torch._utils", "_rebuild_tensor_v2")
        return call(rebuild, storage, offset, shape, stride, False, hooks)

    def tensor(self, array: Any, cls: str | None = None) -> Code:
        array = np.asarray(array)
        stride = tuple(step // array.itemsize for step in np.empty_like(array, order="C").strides)
        return self.view(self.storage(array, cls), 0, array.shape, stride)

    def bytes(self, tree: Any, **members: bytes) -> bytes:
        if self.legacy:
            keys = sorted(self.storages)
            parts = [program(_MAGIC), program(1001), program({"little_endian": True})]
            parts += [program(tree), program(keys)]
            parts += [struct.pack("<q", self.storages[k][0]) + self.storages[k][1] for k in keys]
            return b"".join(parts)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", program(tree))
            for key, (_, data) in self.storages.items():
                archive.writestr(f"archive/data/{key}", data)
            for member, data in members.items():
                archive.writestr(f"archive/{member}", data)
        return buffer.getvalue()


def safetensors_bytes(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refusal(read: Callable[[bytes], Any], data: bytes) -> str:
    """The message of the CheckpointError with which ``read`` refuses a file."""
    with pytest.raises(CheckpointError) as caught:
        read(data)
    message = str(caught.value)
    assert "weights.pth" in message
    assert ";" in message, "a message ends with what to do next"
    return message
