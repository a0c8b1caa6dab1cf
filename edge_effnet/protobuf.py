"""Fields of a protocol buffer, read without its schema (protobuf.dev, "Encoding")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MOST_BYTES = 10  # of a variable-length integer of 64 bits


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message; values are integers or parts of ``data``.

    Raises:
        ValueError: ``data`` is not a protocol buffer.
        IndexError: ``data`` ends within an integer.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(data):
            raise ValueError("a field reaches past its message")
        yield number, value


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Value and end position of the variable-length integer at position ``at``."""
    value = 0
    for place in range(_MOST_BYTES):
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ValueError("an integer of more than ten bytes")
