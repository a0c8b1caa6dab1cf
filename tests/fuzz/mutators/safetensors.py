"""Mutators of safetensors files: the JSON header, its length, and the data."""

from __future__ import annotations

import json
import random
import struct

from fuzz.mutators import EXTREMES, json_values, mutated


def header(data: bytes, dice: random.Random) -> bytes:
    text, rest = _split(data)
    return _join(mutated(text, json_values.MUTATORS, dice), rest)


def metadata(data: bytes, dice: random.Random) -> bytes:
    """JSON within the header's metadata: the card, the variant, the head, the plan."""
    text, rest = _split(data)
    content = json.loads(text)
    words = content["__metadata__"]
    key = dice.choice(sorted(words))
    changed = mutated(words[key].encode(), json_values.MUTATORS, dice)
    words[key] = changed.decode("utf-8", "replace")
    return _join(json.dumps(content).encode(), rest)


def tensor(data: bytes, dice: random.Random) -> bytes:
    """Type, shape or place of one tensor."""
    text, rest = _split(data)
    content = json.loads(text)
    entry = content[dice.choice([name for name in content if name != "__metadata__"])]
    match dice.randrange(4):
        case 0:
            entry["dtype"] = dice.choice(
                ("F64", "F16", "BF16", "I8", "U8", "BOOL", "F8_E4M3", "x", 1)
            )
        case 1:
            entry["shape"] = dice.choice(([0], [], [1] * 70, [2**40, 2**40], [-1], ["1"], [1.0], 5))
        case 2:
            entry["shape"][dice.randrange(len(entry["shape"]))] = dice.choice(EXTREMES)
        case _:
            entry["data_offsets"][dice.randrange(2)] = dice.choice((*EXTREMES, 4, 64, 1.5, "0"))
    return _join(json.dumps(content).encode(), rest)


def length(data: bytes, dice: random.Random) -> bytes:
    return struct.pack("<Q", dice.choice(EXTREMES) % 2**64) + data[8:]


def extreme_values(data: bytes, dice: random.Random) -> bytes:
    """Weights that are infinite, NaN, or at float32's limits."""
    text, rest = _split(data)
    place = dice.randrange(0, len(rest) - 4, 4)
    pattern = dice.choice((b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xff\xff\x7f\x7f", b"\1\0\0\0"))
    times = dice.choice((1, 8, 400))
    return _join(text, (rest[:place] + pattern * times)[: len(rest)] + rest[place + 4 * times :])


def _split(data: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(data[:8], "little")
    return data[8 : 8 + size], data[8 + size :]


def _join(text: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text + rest


MUTATORS = (header, metadata, metadata, tensor, tensor, length, extreme_values)
