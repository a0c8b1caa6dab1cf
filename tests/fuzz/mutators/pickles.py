"""Mutators of pickle programs, opcode by opcode."""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
import warnings

from fuzz.mutators import EXTREMES

_CODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
#: Programs that real files do not have: calls, loops of the memo, sizes, persistent ids.
_PARTS = (
    b"cos\nsystem\n", b"X\x02\0\0\0idtR", b"cbuiltins\neval\n", b"(lp0\n", b"g0\n", b"h\0",
    b"j\xff\xff\xff\x7f",
    b"q\0", b"r\xff\xff\xff\x7f", b"]q\x63h\x63a", b"}q\x63", b"Q", b"Pid\n", b"0" * 9,
    b"2" * 200, b"(" * 500,
    b"t", b"u", b"s", b"e", b"b", b"R", b"\x81", b"\x92", b"\x93",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8a\xff" + b"\x01" * 255, b"\x8b\xff\xff\xff\x7f", b"L" + b"9" * 5000 + b"L\n",
    b"X\xff\xff\xff\x7f",
    b"ctorch\nload\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n)R",
    b".",
    b"(" + b"]" * 3000 + b"l", b"\x85" * 3000, b"F1e999\n", b"I99\n", b"Fnan\n", b"\x98", b"\x97",
    b"\x82\x01", b"\x84\xff\xff\xff\x7f", b"N", b"\x88", b"c\n\n", b"i__main__\nx\n", b"(o",
)  # fmt: skip


def _opcodes(data: bytes) -> list[tuple[int, int]]:
    """Start and end of each opcode of the first program that has any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    return list(zip(starts, [*starts[1:], starts[-1] + 1], strict=True))


def remove(data: bytes, dice: random.Random) -> bytes:
    start, end = dice.choice(_opcodes(data))
    return data[:start] + data[end:]


def repeat(data: bytes, dice: random.Random) -> bytes:
    start, end = dice.choice(_opcodes(data))
    return data[:end] + data[start:end] * dice.choice((1, 2, 1000)) + data[end:]


def exchange(data: bytes, dice: random.Random) -> bytes:
    codes = _opcodes(data)
    (a, b), (c, d) = sorted((dice.choice(codes), dice.choice(codes)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def other_code(data: bytes, dice: random.Random) -> bytes:
    start, _ = dice.choice(_opcodes(data))
    return data[:start] + dice.choice(_CODES) + data[start + 1 :]


def insert(data: bytes, dice: random.Random) -> bytes:
    start, _ = dice.choice(_opcodes(data))
    return data[:start] + dice.choice(_PARTS) + data[start:]


def number(data: bytes, dice: random.Random) -> bytes:
    """An integer of the program replaced by an extreme one."""
    places = [
        (s, e) for s, e in _opcodes(data) if data[s : s + 1] in (b"K", b"M", b"J", b"\x8a", b"\x8b")
    ]
    start, end = dice.choice(places)
    value = pickle.encode_long(dice.choice(EXTREMES))
    return data[:start] + b"\x8b" + struct.pack("<i", len(value)) + value + data[end:]


def text(data: bytes, dice: random.Random) -> bytes:
    """A string of the program replaced: names of tensors, storages and types."""
    places = [(s, e) for s, e in _opcodes(data) if data[s : s + 1] in (b"X", b"\x8c", b"c")]
    start, end = dice.choice(places)
    if data[start : start + 1] == b"c":
        names = (
            b"ctorch\nDoubleStorage\n",
            b"ctorch\nByteStorage\n",
            b"cos\nsystem\n",
            b"c" + b"a" * 2000 + b"\nb\n",
        )
        return data[:start] + dice.choice(names) + data[end:]
    texts = (
        "",
        "cpu",
        "0",
        "99",
        "../0",
        "x" * 5000,
        "storage",
        "\x1b[31m",
        "\ud7ff",
        "classifier.weight",
    )
    value = dice.choice(texts).encode()
    return data[:start] + b"X" + struct.pack("<I", len(value)) + value + data[end:]


MUTATORS = (remove, repeat, exchange, other_code, insert, insert, number, number, text, text)
