"""Mutators of zip archives: members, and what the archive states about them."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Sequence

from fuzz.mutators import EXTREMES, Mutator, mutated

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_FIELDS = {_LOCAL: (4, 28), _CENTRAL: (4, 44), _END: (4, 20)}  # the numbers of each record
_Members = list[tuple[str, bytes, int]]


def members(inner: Sequence[tuple[str, Sequence[Mutator]]]) -> Mutator:
    """Mutator of one member's content: pairs of the end of its name, and mutators for it."""

    def change(data: bytes, dice: random.Random) -> bytes:
        entries = _read(data)
        fitting = [
            (place, mutators)
            for place, (name, _, _) in enumerate(entries)
            for end, mutators in inner
            if name.endswith(end)
        ]
        place, mutators = dice.choice(fitting)
        name, content, method = entries[place]
        entries[place] = (name, mutated(content, mutators, dice), method)
        return _write(entries)

    return change


def drop(data: bytes, dice: random.Random) -> bytes:
    entries = _read(data)
    del entries[dice.randrange(len(entries))]
    return _write(entries)


def duplicate(data: bytes, dice: random.Random) -> bytes:
    entries = _read(data)
    name, _, method = dice.choice(entries)
    entries.append((name, dice.choice(entries)[1], method))
    return _write(entries)


def rename(data: bytes, dice: random.Random) -> bytes:
    entries = _read(data)
    place = dice.randrange(len(entries))
    _, content, method = entries[place]
    other = dice.choice(entries)[0]
    names = (
        other,
        "../" + other,
        "/" + other,
        "x/" * 3000,
        "",
        other + "\0",
        "é/" + other,
        other.upper(),
    )
    entries[place] = (dice.choice(names), content, method)
    return _write(entries)


def method(data: bytes, dice: random.Random) -> bytes:
    entries = _read(data)
    place = dice.randrange(len(entries))
    entries[place] = (*entries[place][:2], dice.choice(_METHODS))
    return _write(entries)


def swap(data: bytes, dice: random.Random) -> bytes:
    entries = _read(data)
    one, other = dice.randrange(len(entries)), dice.randrange(len(entries))
    (a, x, m), (b, y, n) = entries[one], entries[other]
    entries[one], entries[other] = (a, y, m), (b, x, n)
    return _write(entries)


def zeros(data: bytes, dice: random.Random) -> bytes:
    """A member that unpacks to many zeros."""
    entries = _read(data)
    place = dice.randrange(len(entries))
    size = dice.choice((1 << 16, 1 << 20, 100 << 20))
    entries[place] = (entries[place][0], bytes(size), zipfile.ZIP_DEFLATED)
    return _write(entries)


def record(data: bytes, dice: random.Random) -> bytes:
    """A number in a header or the directory: version, flags, method, checksum, size, place."""
    mark = dice.choice((_LOCAL, _CENTRAL, _CENTRAL, _END))
    places = [n for n in range(len(data) - 3) if data.startswith(mark, n)]
    start, (low, high) = dice.choice(places), _FIELDS[mark]
    place = start + dice.randrange(low, high, 2)
    width = dice.choice((2, 4))
    value = dice.choice((*EXTREMES, dice.randrange(0, 16))) % 256**width
    return data[:place] + struct.pack("<Q", value)[:width] + data[place + width :]


def _read(data: bytes) -> _Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > 1 << 22:
            raise ValueError("large")
        return [
            (entry.filename, archive.read(entry), entry.compress_type)
            for entry in archive.infolist()
        ]


def _write(entries: _Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, kind in entries:
            entry = zipfile.ZipInfo(name)  # a fixed date
            entry.compress_type = kind
            archive.writestr(entry, content)
    return buffer.getvalue()


MUTATORS = (drop, duplicate, rename, method, swap, zeros, record, record, record)
