"""Reader of TensorFlow checkpoints (``.index`` and ``.data-*`` files) without TensorFlow.

The index is a sorted table in LevelDB's format with prefix-compressed keys. Each value is a
BundleEntryProto with type, shape, data file and offset of a tensor. Sources of the constants:
tensorflow/core/util/tensor_bundle, core/lib/io/format.h and core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import reading
from edge_effnet.checkpoints.readers.damage import most_unpacked
from edge_effnet.errors import CheckpointError
from edge_effnet.protobuf import fields, varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_LARGEST_INDEX = 64 << 20
_MAX_RANK = 8
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"  # of tf.train.Checkpoint: variable names
_STRING = 7
#: Number of a DataType (tensorflow/core/framework/types.proto) -> (stored type, returned type).
_TYPES = {
    1: ("f4", "f4"),
    2: ("f8", "f4"),
    3: ("i4", "i4"),
    4: ("u1", "u1"),
    5: ("i2", "i2"),
    6: ("i1", "i1"),
    9: ("i8", "i8"),
    10: ("u1", "?"),
    14: ("u2", "f4"),  # bfloat16 is the upper half of a float32
    19: ("f2", "f4"),
    22: ("u4", "u4"),
    23: ("u8", "u8"),
}


@dataclass(frozen=True)
class Entry:
    """Location of a tensor: ``shard`` is the data file's number, ``start`` and ``size`` bytes."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    start: int
    size: int
    sliced: bool


@dataclass(frozen=True)
class Bundle:
    """An opened checkpoint: entries by variable name, and the data files."""

    entries: Mapping[str, Entry]
    index: Path
    shards: tuple[Path, ...]
    byteorder: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The index file, followed by the data files."""
        return (self.index, *self.shards)

    def array(self, name: str) -> NDArray[Any]:
        """Values of the tensor ``name``; all floats become float32. Raises `CheckpointError`."""
        entry = self.entries[name]
        if entry.sliced:
            raise CheckpointError(
                f"{name} in it is cut into partitions; save it again without a partitioner"
            )
        if entry.dtype not in _TYPES:
            raise CheckpointError(
                f"{name} has TensorFlow's type {entry.dtype}, neither a real float nor an integer"
            )
        stored, returned = _TYPES[entry.dtype]
        dtype = np.dtype(self.byteorder + stored)
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise CheckpointError(f"{name} in it is not as long as its shape {list(entry.shape)}")
        values = np.frombuffer(self._bytes(entry), dtype).reshape(entry.shape)
        if entry.dtype == 14:
            return np.asarray((values.astype(np.uint32) << 16).view(np.float32))
        with np.errstate(
            over="ignore"
        ):  # float64 values beyond float32's range become inf without a warning
            return np.asarray(values.astype(returned))

    def _bytes(self, entry: Entry) -> bytes:
        with self.shards[entry.shard].open("rb") as file:
            file.seek(entry.start)
            data = file.read(entry.size)
        if len(data) != entry.size:
            raise CheckpointError(f"{self.shards[entry.shard].name} is cut off; fetch it again")
        return data


def open_bundle(index: Path) -> Bundle:
    """Read an ``.index`` file with data files beside it; raises `CheckpointError` or `DAMAGE`."""
    size = index.stat().st_size
    if size > _LARGEST_INDEX:
        raise CheckpointError(f"{index.name} has {size} bytes, which no real index has")
    table = reading.read_bytes(index)
    rows = dict(_table(table))
    count, byteorder = _header(rows.pop(b"", b""))
    shards = _shards(index, count)
    entries = {key.decode(): _entry(value, count) for key, value in rows.items()}
    present = sum(path.stat().st_size for path in shards)
    if sum(entry.size for entry in entries.values()) > present:
        raise CheckpointError(
            f"its data files hold {present} bytes, fewer than its index lists; fetch them again"
        )
    bundle = Bundle(entries, index, shards, byteorder)
    names = _object_names(bundle)
    return Bundle(names, index, shards, byteorder)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every (key, value) of a LevelDB table."""
    if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise CheckpointError("its index does not end as one of TensorFlow does; is it cut off?")
    at = len(data) - _FOOTER
    for _ in range(2):  # skips the handle of the meta index
        _, at = varint(data, at)
    start, at = varint(data, at)
    length, _ = varint(data, at)
    left, characters = len(data), most_unpacked(len(data))
    for _, handle in _block(data, start, length):
        start, at = varint(handle, 0)
        length, _ = varint(handle, at)
        left -= length
        for key, value in _block(data, start, length):
            characters -= len(key)
            if left < 0 or characters < 0:
                raise CheckpointError("its index lists a block again and again; do not use it")
            yield key, value


def _block(data: bytes, start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """Every (key, value) of a block, which ends with restart points and their number."""
    block = data[start : start + length]
    if len(block) != length or length < 4 or start + length >= len(data):
        raise CheckpointError("its index is cut off; fetch it again")
    if data[start + length] != 0:
        raise CheckpointError("its index is compressed, as TensorFlow does not write it")
    end = length - 4 * (1 + int.from_bytes(block[-4:], "little"))
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + unshared + size > end:
            raise CheckpointError("its index is damaged; fetch it again")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + size]
        at += size


def _header(data: bytes) -> tuple[int, str]:
    """(number of data files, byte order) from a BundleHeaderProto."""
    header = dict(fields(data))
    count = header.get(1, 0)
    if not 1 <= count <= 10_000:
        raise CheckpointError("its index names no data files; is it of another program?")
    return count, ">" if header.get(2, 0) == 1 else "<"


def _entry(data: bytes, count: int) -> Entry:
    """`Entry` from the bytes of a BundleEntryProto; ``count`` is the number of data files."""
    entry = dict(fields(data))
    sides = [dict(fields(side)) for number, side in fields(entry.get(2, b"")) if number == 2]
    shape = tuple(int(side.get(1, 0)) for side in sides)
    shard, start, size = (int(entry.get(number, 0)) for number in (3, 4, 5))
    if len(shape) > _MAX_RANK or any(side >= 1 << 40 for side in shape) or shard >= count:
        raise CheckpointError("its index is damaged; fetch it again")
    return Entry(int(entry.get(1, 0)), shape, shard, start, size, 7 in entry)


def _shards(index: Path, count: int) -> tuple[Path, ...]:
    prefix = index.name.removesuffix(".index")
    paths = [index.with_name(f"{prefix}.data-{i:05d}-of-{count:05d}") for i in range(count)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise CheckpointError(f"its data file {missing[0]} is not beside it; fetch it too")
    return tuple(paths)


def _object_names(bundle: Bundle) -> Mapping[str, Entry]:
    """Entries of a `tf.train.Checkpoint` by variable name; entries of other files are unchanged.

    If variable names are not unique, as in Keras 3, the keys are kept.
    """
    entry = bundle.entries.get(_OBJECTS)
    if entry is None or entry.dtype != _STRING:
        return bundle.entries
    data = bundle._bytes(entry)
    length, at = varint(data, 0)
    graph = data[at + 4 : at + 4 + length]  # skips four bytes of checksum
    entries: dict[str, Entry] = {}
    for number, node in fields(graph):
        for inner, attribute in fields(node) if number == 1 else ():
            if inner != 2:
                continue
            texts = {n: value.decode() for n, value in fields(attribute) if n in (2, 3)}
            name, key = texts.get(2, ""), texts.get(3, "")
            if name and key in bundle.entries and bundle.entries[key].dtype != _STRING:
                if name in entries:
                    return bundle.entries
                entries[name] = bundle.entries[key]
    return entries or bundle.entries
