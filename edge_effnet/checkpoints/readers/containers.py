"""Containers of tensors: ``.pth``, ``.pt`` and ``.safetensors`` files.

`open_container` detects the format by the first bytes, not by the file's name. It returns a
`Container`: a structure of tensor descriptions, and a function that reads the bytes of one storage.
Only the network's tensors are read, not the optimizer's state.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from edge_effnet import json_text
from edge_effnet.checkpoints.readers import pickles
from edge_effnet.checkpoints.readers.damage import most_unpacked
from edge_effnet.checkpoints.readers.values import DTYPES, Storage, Tensor
from edge_effnet.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C  # first bytes of torch.save's files before version 1.6

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

_FOREIGN = (  # first bytes of files that are often mistaken for checkpoints
    (b"version https://git-lfs", "it is a Git LFS pointer, not the weights; run 'git lfs pull'"),
    (b"<", "it is a web page, not the weights; download from the link to the raw file"),
    (b"\x89HDF", "it is an HDF5 (Keras) file; use a PyTorch or safetensors checkpoint"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it with gunzip first"),
)


@dataclass(frozen=True)
class Container:
    """An open file: ``tree`` is its structure with `Tensor` values, ``words`` its text metadata."""

    tree: object
    fetch: Callable[[Storage], bytes]  # returns exactly ``storage.nbytes`` bytes
    byteorder: str = "<"
    words: Mapping[str, str] = field(default_factory=dict)


def open_container(file: BinaryIO, size: int) -> Container:
    """Open ``file`` of ``size`` bytes.

    For a damaged file, errors of the parsers are raised too (`ValueError`, `zipfile.BadZipFile`,
    ...).

    Raises:
        CheckpointError: The format is unknown.
    """
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
        "it is not a checkpoint of a known format; use a .pth, .pt, .safetensors, "
        ".h5 or .keras file"
    )


def _open_zip(file: BinaryIO, size: int) -> Container:
    """Open a file of ``torch.save`` since version 1.6."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise damaged("a zip archive without its end; was the download cut off?") from error
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > most_unpacked(size) or size < sum(member.compress_size for member in members):
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
    if not root and any("archive_format" in name or "exported_program" in name for name in names):
        raise CheckpointError(
            "it is a program of torch.export, not a checkpoint; save its weights with "
            "torch.save(torch.export.load('model.pt2').state_dict, 'weights.pth') and use that file"
        )
    if not root:
        raise CheckpointError(
            "it is a zip archive without PyTorch weights in it; if it contains a checkpoint, "
            "unpack it and use that file"
        )

    def read(name: str, length: int | None = None) -> bytes:
        member = archive.getinfo(root + name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise damaged(f"{shown(name)} in it is compressed in a way that PyTorch never uses")
        limit = pickles.MAX_BYTES if length is None else length
        if member.file_size > limit:
            raise damaged(f"{shown(name)} in it is too large")
        data = archive.read(member)
        if length is not None and len(data) != length:
            raise damaged(f"{shown(name)} in it is too short")
        return data

    tree, _ = pickles.load(io.BytesIO(read("data.pkl")))
    big = root + "byteorder" in names and read("byteorder").strip() == b"big"
    return Container(
        tree, lambda storage: read(f"data/{storage.key}", storage.nbytes), ">" if big else "<"
    )


def _open_legacy(file: BinaryIO, size: int) -> Container:
    """Open a file of ``torch.save`` before version 1.6: five pickles, then the storages."""
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
        raise damaged("its list of storages is unreadable")
    starts: dict[str, int] = {}
    position = stream.tell()
    for key in keys:
        file.seek(position)
        if int.from_bytes(file.read(8), "little") != storages[key].length:
            raise damaged("a storage in it is not as long as described, or cut off")
        starts[key] = position + 8
        position += 8 + storages[key].nbytes
    if position > size:
        raise damaged(f"it is cut off: {size} of at least {position} bytes are there")
    return Container(tree, lambda storage: _read_at(file, starts[storage.key], storage.nbytes))


def _open_safetensors(file: BinaryIO, size: int) -> Container:
    """Open a safetensors file: length of the JSON header, the header, the data."""
    base = 8 + _header_length(file.read(8))
    if base > size:
        raise damaged(f"it is cut off: {size} of at least {base} bytes are there")
    header = json_text.parse(file.read(base - 8))
    words = header.get("__metadata__") or {}
    starts: dict[str, int] = {}
    tree: dict[str, Tensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _SAFETENSORS:
            raise unsupported(name, entry["dtype"])
        dtype = DTYPES[_SAFETENSORS[entry["dtype"]]]
        shape = pickles.numbers(entry["shape"])
        start, end = pickles.numbers(entry["data_offsets"])
        storage = Storage(name, dtype, math.prod(shape))
        if end - start != storage.nbytes:
            raise damaged(f"tensor {shown(name)} does not fit its place")
        if base + end > size:
            raise damaged(f"it is cut off: {size} of at least {base + end} bytes are there")
        starts[name] = base + start
        stride = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        tree[name] = Tensor(storage, dtype, 0, shape, tuple(stride))
    if sum(tensor.storage.nbytes for tensor in tree.values()) > size:
        raise damaged("its tensors overlap")
    texts = {key: text for key, text in words.items() if isinstance(text, str)}
    return Container(
        tree, lambda storage: _read_at(file, starts[storage.key], storage.nbytes), words=texts
    )


def _header_length(start: bytes) -> int:
    return int.from_bytes(start[:8], "little")


def _read_at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    data = file.read(length)
    if len(data) != length:
        raise damaged("it is cut off")
    return data


def shown(name: object) -> str:
    """A name from the file as text that is safe and short enough for a message."""
    return ascii(name if isinstance(name, str) and len(name) <= 100 else str(name)[:100] + "...")


def damaged(reason: str) -> CheckpointError:
    """The error for a file that violates its format."""
    return CheckpointError(f"it is damaged ({reason}); fetch it or save it again")


def unsupported(name: str, dtype: object) -> CheckpointError:
    """The error for a tensor of an unsupported type."""
    return CheckpointError(
        f"tensor {shown(name)} has the element type {shown(dtype)}, which is neither a real "
        "float nor an integer; save the float32 weights of the network"
    )
