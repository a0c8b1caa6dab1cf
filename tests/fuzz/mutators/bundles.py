"""Writer and mutators of the index of TensorFlow checkpoints: a LevelDB table of protobufs."""

from __future__ import annotations

import random
import struct

from fuzz.mutators import EXTREMES, mutated, protobufs
from fuzz.mutators.protobufs import varint

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_TRAILER = bytes(5)  # no compression, and a checksum that the reader does not check
Rows = list[tuple[bytes, bytes]]


def index(rows: Rows, repeats: int = 1) -> bytes:
    """An index file with the data block of ``rows``, listed ``repeats`` times."""
    data = _block(rows)
    handle = varint(0) + varint(len(data) - len(_TRAILER))
    meta = _block([])
    listing = _block([(b"\xff" * 4, handle)] * repeats)
    places = varint(len(data)) + varint(len(meta) - len(_TRAILER))
    places += varint(len(data) + len(meta)) + varint(len(listing) - len(_TRAILER))
    return data + meta + listing + places.ljust(40, b"\0") + _MAGIC


def entry(dtype: int, shape: tuple[int, ...], start: int, size: int, shard: int = 0) -> bytes:
    """A BundleEntryProto."""
    sides = b"".join(_bytes(2, _field(1, side)) for side in shape)
    return (
        _field(1, dtype) + _bytes(2, sides) + _field(3, shard) + _field(4, start) + _field(5, size)
    )


#: A BundleHeaderProto of one data file.
HEADER = b"\x08\x01"


def value(data: bytes, dice: random.Random) -> bytes:
    """The entry of one tensor, as a protocol buffer."""
    rows = _rows(data)
    place = dice.randrange(len(rows))
    key, content = rows[place]
    rows[place] = (key, mutated(content, protobufs.MUTATORS, dice))
    return index(rows)


def tensor(data: bytes, dice: random.Random) -> bytes:
    """Another type, shape, place or size of one tensor."""
    rows = _rows(data)
    place = dice.randrange(1, len(rows))
    sides = tuple(dice.choice((0, 1, 3, 8, 2**20, 2**40)) for _ in range(dice.randrange(10)))
    numbers = [dice.choice((0, 32, *EXTREMES)) % 2**63 for _ in range(2)]
    content = entry(
        dice.choice((1, 2, 7, 9, 14, 19, 99)), sides, *numbers, dice.choice((0, 0, 1, 9999))
    )
    rows[place] = (rows[place][0], content)
    return index(rows)


def row(data: bytes, dice: random.Random) -> bytes:
    """A row dropped, doubled, moved or renamed."""
    rows = _rows(data)
    place = dice.randrange(len(rows))
    match dice.randrange(4):
        case 0:
            del rows[place]
        case 1:
            rows += [rows[place]] * dice.choice((1, 2, 400))
        case 2:
            dice.shuffle(rows)
        case _:
            key = dice.choice(
                (
                    b"",
                    b"\xff\xfe",
                    b"x" * 3000,
                    dice.choice(rows)[0],
                    b"_CHECKPOINTABLE_OBJECT_GRAPH",
                )
            )
            rows[place] = (key, rows[place][1])
    return index(rows)


def repeated_block(data: bytes, dice: random.Random) -> bytes:
    """An index that lists its block again and again."""
    return index(_rows(data), dice.choice((2, 100, 20_000, 200_000)))


def footer(data: bytes, dice: random.Random) -> bytes:
    """A place or length in the last bytes."""
    at = len(data) - dice.randrange(9, 49)
    return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]


def _block(rows: Rows) -> bytes:
    parts = [b"\0" + varint(len(k)) + varint(len(v)) + k + v for k, v in rows]
    return b"".join(parts) + struct.pack("<II", 0, 1) + _TRAILER


def _rows(data: bytes) -> Rows:
    from edge_effnet.checkpoints.tensorflow.bundle import _table

    return list(_table(data))


def _field(number: int, content: int) -> bytes:
    return varint(number << 3) + varint(content)


def _bytes(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


MUTATORS = (value, value, tensor, row, repeated_block, footer)
