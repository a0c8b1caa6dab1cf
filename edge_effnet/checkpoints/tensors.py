"""Checkpoints as named numpy arrays: ``.pth``, ``.pt`` and ``.safetensors``, without PyTorch.

Formats are told apart by their first bytes, never by the name of the file. Each opens as a
`_Source`: a tree of described tensors, and a function that fetches the bytes of one storage. So
only what is returned is read: an optimizer's state beside the weights costs nothing.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints import pickles
from edge_effnet.checkpoints.pickles import DTYPES, Storage, Tensor
from edge_effnet.checkpoints.source import Checkpoint, Reader
from edge_effnet.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C  # opens every file that torch.save wrote before version 1.6
_ROOMY = 64 << 20  # fewer bytes than this are never a bomb
_MAX_ZIP_RATIO = 100
_MAX_VIEW_RATIO = 16

# Where training scripts put the weights. Averaged ones come first: they are the better ones.
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "shadow",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
)
_MAX_WRAPPERS = 4
_MOST_WORDS, _LONGEST_WORD = 1000, 200
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_COUNTERS = {"n_averaged"}  # torch.optim.swa_utils.AveragedModel keeps it beside "module.*"

_NUMPY = {  # PyTorch's name of a type: how the file stores it, how it is returned
    "float64": ("f8", "f4"),
    "float32": ("f4", "f4"),
    "float16": ("f2", "f4"),
    "bfloat16": ("u2", "f4"),  # numpy lacks it: the upper half of a float32
    "int64": ("i8", "i8"),
    "int32": ("i4", "i4"),
    "int16": ("i2", "i2"),
    "int8": ("i1", "i1"),
    "uint64": ("u8", "u8"),
    "uint32": ("u4", "u4"),
    "uint16": ("u2", "u2"),
    "uint8": ("u1", "u1"),
    "bool": ("u1", "?"),  # by way of numbers, since a damaged file holds others than 0 and 1
}
_SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}

_FOREIGN = (  # what else people end up with under the name of a checkpoint
    (b"version https://git-lfs", "it is a Git LFS pointer, not the weights; run 'git lfs pull'"),
    (b"<", "it is a web page, not the weights; download from the link to the raw file"),
    (b"\x89HDF", "it is an HDF5 (Keras) file; use a PyTorch or safetensors checkpoint"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it with gunzip first"),
)
_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class _Source:
    tree: object
    fetch: Callable[[Storage], bytes]  # exactly ``storage.nbytes`` of them
    byteorder: str = "<"
    words: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Checkpoint:
    """The weights in a PyTorch or safetensors file as `read_tensors` gives them, and its words.

    Words are a safetensors file's metadata, or short texts beside a PyTorch file's tensors (such as
    the name of the architecture). Raises `CheckpointError`.
    """
    tensors, words = _read(path)
    return Checkpoint(path, tensors, words)


#: Takes whatever no other reader recognises, and says why if it is no checkpoint.
READER = Reader(lambda path, start: True, read)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the weights in a checkpoint as ``{name: array}``, in the order of the file.

    Reads what ``torch.save`` wrote (both its zip files and the older ones) and safetensors, and
    runs no code from the file, whatever it holds. float16, bfloat16 and float64 become float32;
    integers and bool keep their type. Arrays are C-contiguous and read-only. Wrappers such as
    ``{"state_dict": ...}`` are opened, averaged (EMA) weights preferred, and prefixes such as
    ``module.`` are taken off where all names share them.

    Raises `CheckpointError` when the file is missing, damaged, hostile or of another format, or
    holds no named tensors.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    path = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise CheckpointError(f"it is {kind}; give the path of a checkpoint file")
        with open(path, "rb") as file:
            source = _open(file, os.fstat(file.fileno()).st_size)
            tensors = _arrays(_without_prefixes(_weights(source.tree)), source)
            return tensors, source.words or dict(_words(source.tree, 1))
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}; check the path") from error
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}; check the file and its permissions"
        ) from error
    except MemoryError as error:
        raise CheckpointError(
            f"cannot read {path}: it needs more memory than there is; save only its state_dict, "
            "or use a larger machine"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"cannot read {path}: {_damaged('its structure is broken')}"
        ) from error


def _open(file: BinaryIO, size: int) -> _Source:
    start = file.read(512)
    file.seek(0)
    if not start:
        raise CheckpointError("it is empty (0 bytes); fetch it again")
    if start.startswith(b"PK\x03\x04"):
        return _open_zip(file, size)
    if start[8:9] == b"{" and _header_length(start) <= pickles.MAX_BYTES:
        return _open_safetensors(file, size)
    if start.startswith(b"\x80"):
        return _open_legacy(file, size)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for prefix, message in _FOREIGN:
        if text.startswith(prefix):
            raise CheckpointError(message)
    raise CheckpointError(
        "it is not a checkpoint of a known format; use a PyTorch .pth or .pt file, "
        "or a .safetensors file"
    )


def _open_zip(file: BinaryIO, size: int) -> _Source:
    """Open what ``torch.save`` writes since version 1.6."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise _damaged("a zip archive without its end; was the download cut off?") from error
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_ROOMY, _MAX_ZIP_RATIO * size) or size < sum(
        member.compress_size for member in members
    ):
        raise CheckpointError(
            f"it is a zip bomb: {size} bytes that claim to unpack to {unpacked}; do not use it"
        )
    names = set(archive.namelist())
    roots = [name[: -len("data.pkl")] for name in names if name.endswith("/data.pkl")]
    root = min(roots, key=len, default="")
    if root + "constants.pkl" in names:
        raise CheckpointError(
            "it is a TorchScript program, not a checkpoint; save its weights with "
            "torch.save(torch.jit.load('model.pt').state_dict(), 'weights.pth') and use that file"
        )
    if not root:
        raise CheckpointError(
            "it is a zip archive without PyTorch weights in it; if it contains a checkpoint, "
            "unpack it and use that file"
        )

    def read(name: str, length: int | None = None) -> bytes:
        member = archive.getinfo(root + name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _damaged(f"{_shown(name)} in it is compressed in a way that PyTorch never uses")
        limit = pickles.MAX_BYTES if length is None else length
        if member.file_size > limit:
            raise _damaged(f"{_shown(name)} in it is too large")
        data = archive.read(member)
        if length is not None and len(data) != length:
            raise _damaged(f"{_shown(name)} in it is too short")
        return data

    tree, _ = pickles.load(io.BytesIO(read("data.pkl")))
    big = root + "byteorder" in names and read("byteorder").strip() == b"big"
    return _Source(
        tree, lambda storage: read(f"data/{storage.key}", storage.nbytes), ">" if big else "<"
    )


def _open_legacy(file: BinaryIO, size: int) -> _Source:
    """Open what ``torch.save`` wrote before version 1.6: five pickles, then the storages."""
    stream = io.BytesIO(file.read(pickles.MAX_BYTES))
    magic, _ = pickles.load(stream)
    if magic != _MAGIC:
        raise CheckpointError(
            "it is a pickle that torch.save did not write; save the weights with "
            "torch.save(model.state_dict(), 'weights.pth') and use that file"
        )
    for _ in ("protocol version", "sizes of C types"):
        pickles.load(stream)
    tree, storages = pickles.load(stream)
    keys, _ = pickles.load(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _damaged("its list of storages is unreadable")
    starts: dict[str, int] = {}
    position = stream.tell()
    for key in keys:
        file.seek(position)
        if int.from_bytes(file.read(8), "little") != storages[key].length:
            raise _damaged("a storage in it is not as long as described, or cut off")
        starts[key] = position + 8
        position += 8 + storages[key].nbytes
    if position > size:
        raise _damaged(f"it is cut off: {size} of at least {position} bytes are there")
    return _Source(tree, lambda storage: _read_at(file, starts[storage.key], storage.nbytes))


def _open_safetensors(file: BinaryIO, size: int) -> _Source:
    """Open a safetensors file: the length of a JSON header, the header, the data."""
    base = 8 + _header_length(file.read(8))
    if base > size:
        raise _damaged(f"it is cut off: {size} of at least {base} bytes are there")
    header = json.loads(file.read(base - 8).decode())
    words = header.get("__metadata__") or {}
    starts: dict[str, int] = {}
    tree: dict[str, Tensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _SAFETENSORS:
            raise _unsupported(name, entry["dtype"])
        dtype = DTYPES[_SAFETENSORS[entry["dtype"]]]
        shape = pickles.numbers(entry["shape"])
        start, end = pickles.numbers(entry["data_offsets"])
        storage = Storage(name, dtype, math.prod(shape))
        if end - start != storage.nbytes:
            raise _damaged(f"tensor {_shown(name)} does not fit its place")
        if base + end > size:
            raise _damaged(f"it is cut off: {size} of at least {base + end} bytes are there")
        starts[name] = base + start
        stride = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        tree[name] = Tensor(storage, dtype, 0, shape, tuple(stride))
    if sum(tensor.storage.nbytes for tensor in tree.values()) > size:
        raise _damaged("its tensors overlap")
    texts = {key: text for key, text in words.items() if isinstance(text, str)}
    return _Source(
        tree, lambda storage: _read_at(file, starts[storage.key], storage.nbytes), words=texts
    )


def _header_length(start: bytes) -> int:
    return int.from_bytes(start[:8], "little")


def _read_at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    data = file.read(length)
    if len(data) != length:
        raise _damaged("it is cut off")
    return data


def _weights(tree: object) -> dict[str, Tensor]:
    found = _find(tree, _MAX_WRAPPERS, set())
    if found:
        return found
    if not isinstance(tree, dict):
        holds = "it holds no dict of named tensors"
    else:
        holds = "it holds no tensors under " + ", ".join(_shown(name) for name in list(tree)[:6])
    raise CheckpointError(
        f"{holds}; save the weights with torch.save(model.state_dict(), 'weights.pth')"
    )


def _words(node: object, depth: int) -> Iterator[tuple[str, str]]:
    """The short texts in the checkpoint's dict and in the dicts that it holds."""
    if not isinstance(node, dict):
        return
    for name, item in itertools.islice(node.items(), _MOST_WORDS):
        if isinstance(item, str) and len(item) <= _LONGEST_WORD:
            yield name, item
        elif depth:
            yield from _words(item, depth - 1)


def _find(node: object, depth: int, seen: set[int]) -> dict[str, Tensor]:
    """Return the preferred dict of tensors at or below ``node``; visits each dict once."""
    if not isinstance(node, dict) or id(node) in seen:
        return {}
    seen.add(id(node))
    for wrapper in _WRAPPERS if depth else ():
        inner = _find(node.get(wrapper), depth - 1, seen)
        if any(tensor.shape for tensor in inner.values()):  # not just counters and decay rates
            return inner
    return {
        name: item
        for name, item in node.items()
        if isinstance(item, Tensor) and name not in _COUNTERS
    }


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(_MAX_WRAPPERS):
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors


def _arrays(tensors: dict[str, Tensor], source: _Source) -> dict[str, NDArray[Any]]:
    data: dict[str, bytes] = {}
    needed = 0
    for name, tensor in tensors.items():
        if not name.isprintable():
            raise _damaged(f"a tensor in it is called {_shown(name)}")
        if tensor.dtype.name not in _NUMPY:
            raise _unsupported(name, tensor.dtype.name)
        if tensor.storage.key not in data:
            data[tensor.storage.key] = source.fetch(tensor.storage)
        needed += math.prod(tensor.shape) * np.dtype(_NUMPY[tensor.dtype.name][1]).itemsize
    present = sum(len(storage) for storage in data.values())
    if needed > _ROOMY + _MAX_VIEW_RATIO * present:
        raise CheckpointError(
            f"its tensors repeat {present} bytes of data into {needed}, as no real network does; "
            "do not use it"
        )
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
        raise _damaged(f"tensor {_shown(name)} reaches past the end of its data")
    strides = [step * dtype.itemsize for step in tensor.stride]
    view = np.ndarray(tensor.shape, dtype, data, tensor.offset * dtype.itemsize, strides)
    if tensor.dtype.name == "bfloat16":
        halves = view.reshape(-1).astype(np.uint32)
        return _frozen((halves << 16).view(np.float32).reshape(tensor.shape))
    with np.errstate(all="ignore"):  # a float64 beyond float32 becomes inf, quietly
        return _frozen(view.astype(returned, order="C", copy=False))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _shown(name: object) -> str:
    return ascii(name if isinstance(name, str) and len(name) <= 100 else str(name)[:100] + "...")


def _damaged(reason: str) -> CheckpointError:
    return CheckpointError(f"it is damaged ({reason}); fetch it or save it again")


def _unsupported(name: str, dtype: object) -> CheckpointError:
    return CheckpointError(
        f"tensor {_shown(name)} has the element type {_shown(dtype)}, which is neither a real "
        "float nor an integer; save the float32 weights of the network"
    )
