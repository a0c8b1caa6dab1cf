"""Mutators of bytes, for every format."""

from __future__ import annotations

import random
import re
import struct

from fuzz.mutators import EXTREMES

_NUMBER = re.compile(rb"\d+")


def flip_bits(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def extreme_word(data: bytes, dice: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes of either byte order replaced by an extreme one."""
    width, order = dice.choice((1, 2, 4, 4, 8)), dice.choice(("little", "little", "big"))
    step = dice.choice((1, width))
    place = dice.randrange(0, max(1, len(data) - width), step)
    value = dice.choice(EXTREMES) % 256**width
    return data[:place] + value.to_bytes(width, order) + data[place + width :]  # type: ignore[arg-type]


def add_to_word(data: bytes, dice: random.Random) -> bytes:
    """A small number added to a word: counts and offsets that are off by a little."""
    place = dice.randrange(0, len(data) - 4)
    (value,) = struct.unpack_from("<I", data, place)
    value = (value + dice.choice((-16, -8, -4, -2, -1, 1, 2, 4, 8, 16))) % 2**32
    return data[:place] + struct.pack("<I", value) + data[place + 4 :]


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def remove(data: bytes, dice: random.Random) -> bytes:
    start, end = _range(data, dice)
    return data[:start] + data[end:]


def repeat(data: bytes, dice: random.Random) -> bytes:
    start, end = _range(data, dice)
    times = dice.choice((1, 2, 50)) if end - start < 1_000 else 1
    return data[:end] + data[start:end] * times + data[end:]


def move(data: bytes, dice: random.Random) -> bytes:
    """A part of the file copied over another."""
    start, end = _range(data, dice)
    place = dice.randrange(len(data))
    return data[:place] + data[start:end] + data[place + end - start :]


def fill(data: bytes, dice: random.Random) -> bytes:
    start, end = _range(data, dice)
    return data[:start] + dice.choice((b"\0", b"\xff", b"\x80", b"A")) * (end - start) + data[end:]


def insert(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    part = dice.choice((b"\0", b"\0" * 64, dice.randbytes(dice.randrange(1, 40)), b"\xff\xfe"))
    return data[:place] + part + data[place:]


def number_in_text(data: bytes, dice: random.Random) -> bytes:
    match = dice.choice(list(_NUMBER.finditer(data)))
    value = dice.choice(
        (str(dice.choice(EXTREMES)), "9" * 5000, "1e999", "nan", "0.0", "")
    ).encode()
    return data[: match.start()] + value + data[match.end() :]


def _range(data: bytes, dice: random.Random) -> tuple[int, int]:
    start = dice.randrange(len(data))
    length = dice.choice((1, 2, 4, 16, 64, 256, len(data) // 2 + 1))
    return start, min(len(data), start + length)


#: The mutators of any file.
ANY = (flip_bits, extreme_word, extreme_word, add_to_word, cut, remove, repeat, move, fill, insert)
