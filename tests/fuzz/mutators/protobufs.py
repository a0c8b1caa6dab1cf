"""Mutators of protocol buffers without their schema: one field of one message is changed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from fuzz.mutators import EXTREMES, Mutator, mutated
from fuzz.mutators.raw import flip_bits, insert

_DEEPEST = 12


@dataclass
class _Field:
    number: int
    kind: int  # wire type: 0 a number, 2 bytes, 1 and 5 fixed
    value: int | bytes


def field(data: bytes, dice: random.Random) -> bytes:
    """One field of the message or, more likely, of a message within it."""
    return _changed(data, dice, 0)


def nested(data: bytes, dice: random.Random) -> bytes:
    """A message in itself, many times."""
    fields = _parse(data)
    place = dice.choice([n for n, each in enumerate(fields) if each.kind == 2])
    number, content = fields[place].number, bytes(fields[place].value)  # type: ignore[arg-type]
    for _ in range(dice.choice((1, 10, 400))):
        content = _write([_Field(number, 2, content)])
    fields[place].value = content
    return _write(fields)


def text(*replacements: tuple[bytes, bytes]) -> Mutator:
    """Mutator of names of equal length, which stand anywhere."""

    def change(data: bytes, dice: random.Random) -> bytes:
        old, new = dice.choice([pair for pair in replacements if pair[0] in data])
        return data.replace(old, new, 1)

    return change


def _changed(data: bytes, dice: random.Random, depth: int) -> bytes:
    fields = _parse(data)
    place = dice.randrange(len(fields))
    chosen = fields[place]
    inner = isinstance(chosen.value, bytes) and depth < _DEEPEST and dice.random() < 0.8
    if inner and (messages := [n for n, f in enumerate(fields) if _is_message(f)]):
        chosen = fields[dice.choice(messages)]
        chosen.value = _changed(bytes(chosen.value), dice, depth + 1)  # type: ignore[arg-type]
        return _write(fields)
    match dice.randrange(7):
        case 0:
            del fields[place]
        case 1:
            fields[place:place] = [chosen] * dice.choice((1, 2, 300))
        case 2:
            other = dice.randrange(len(fields))
            fields[place], fields[other] = fields[other], fields[place]
        case 3:
            chosen.number = dice.choice((chosen.number + 1, 1, 15, 16, 2**29 - 1))
        case 4:
            chosen.kind = dice.choice((0, 1, 2, 3, 5, 7))
        case _ if chosen.kind == 0:
            chosen.value = dice.choice((*EXTREMES, dice.randrange(32))) % 2**64
        case _:
            chosen.value = mutated(bytes(chosen.value), (flip_bits, insert), dice)  # type: ignore[arg-type]
    return _write(fields)


def _is_message(field: _Field) -> bool:
    if not isinstance(field.value, bytes) or len(field.value) < 2:
        return False
    try:
        return bool(_parse(field.value))
    except (ValueError, IndexError):
        return False


def _parse(data: bytes) -> list[_Field]:
    at, fields = 0, []
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind in (1, 2, 5):
            size, at = _read_varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(kind)
        if at > len(data) or number == 0:
            raise ValueError("no message")
        fields.append(_Field(number, kind, value))
    return fields


def _write(fields: list[_Field]) -> bytes:
    parts = []
    for each in fields:
        parts.append(varint(each.number << 3 | each.kind))
        if isinstance(each.value, int):
            parts.append(varint(each.value))
        else:
            parts.append((varint(len(each.value)) if each.kind == 2 else b"") + each.value)
    return b"".join(parts)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
        if shift > 63:
            raise ValueError("long")


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes((*parts, value))


MUTATORS = (field, field, field, field, nested)


def message(*fields: tuple[int, bytes]) -> bytes:
    """A message of fields of bytes."""
    return _write([_Field(number, 2, content) for number, content in fields])
