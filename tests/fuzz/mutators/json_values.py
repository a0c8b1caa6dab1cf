"""Mutators of JSON: values of other types, sizes, depths and spellings."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from fuzz.mutators import EXTREMES, mutated
from fuzz.mutators.raw import number_in_text

_Slot = tuple[Any, Any]  # a list or dict, and the index or key of a value in it
#: Values that fields do not expect. Texts stand for JSON that `json.dumps` does not write.
_VALUES: tuple[Any, ...] = (
    *EXTREMES, 0.5, -0.5, 1e308, 1e-320, float("nan"), float("inf"), True, False, None, "", " ",
    "nan",
    "1", "a/../../b", "\x1b[31m", "line\nbreak", "\0", "x" * 5000, "\ud800", "é", [], {}, [[]],
    [{}],
    {"": None}, [None], ["a", 1], {"a": {"b": []}}, 10**39, 10**400,
)  # fmt: skip


def value(data: bytes, dice: random.Random) -> bytes:
    content, slots = _parse(data)
    holder, key = dice.choice(slots)
    holder[key] = dice.choice(_VALUES)
    return _text(content)


def swap(data: bytes, dice: random.Random) -> bytes:
    """Two values exchanged."""
    content, slots = _parse(data)
    (one, i), (other, k) = dice.choice(slots), dice.choice(slots)
    one[i], other[k] = json.loads(json.dumps(other[k])), json.loads(json.dumps(one[i]))
    return _text(content)


def drop(data: bytes, dice: random.Random) -> bytes:
    content, slots = _parse(data)
    holder, key = dice.choice(slots)
    del holder[key]
    return _text(content)


def rename(data: bytes, dice: random.Random) -> bytes:
    content, slots = _parse(data)
    holder, key = dice.choice([slot for slot in slots if isinstance(slot[0], dict)])
    other = dice.choice([k for h, k in slots if isinstance(h, dict)])
    holder[dice.choice((other, "", "x" * 3000, "\x1b[2J", "é", key + " "))] = holder.pop(key)
    return _text(content)


def lengthen(data: bytes, dice: random.Random) -> bytes:
    content, slots = _parse(data)
    holder = dice.choice([h for h, _ in slots if isinstance(h, list)])
    holder.extend([dice.choice(holder)] * dice.choice((1, 2, 1000)))
    return _text(content)


def nest(data: bytes, dice: random.Random) -> bytes:
    """A value nested in many lists or objects."""
    content, slots = _parse(data)
    holder, key = dice.choice(slots)
    holder[key] = "@here@"
    depth, (opening, closing) = (
        dice.choice((10, 190, 5000, 50_000)),
        dice.choice((("[", "]"), ('{"a":', "}"))),
    )
    return _text(content).replace(
        b'"@here@"', (opening * depth + "1" + closing * depth).encode(), 1
    )


def repeat_key(data: bytes, dice: random.Random) -> bytes:
    content, slots = _parse(data)
    _, key = dice.choice([slot for slot in slots if isinstance(slot[0], dict)])
    text = _text(content)
    found = text.find(json.dumps(key).encode())
    return (
        text[:found]
        + json.dumps(key).encode()
        + b": "
        + dice.choice((b"1", b"[]", b"null"))
        + b", "
        + text[found:]
    )


def another_root(data: bytes, dice: random.Random) -> bytes:
    content, _ = _parse(data)
    return _text(dice.choice(([content], {"a": content}, None, 1, "text", [], {}, [1, 2], True)))


def encoding(data: bytes, dice: random.Random) -> bytes:
    text = data.decode()
    return text.encode(dice.choice(("utf-16", "utf-32", "utf-8-sig", "cp1252")))


def line(data: bytes, dice: random.Random) -> bytes:
    """One line of several that are JSON each."""
    lines = data.split(b"\n")
    place = dice.randrange(len(lines))
    lines[place] = mutated(lines[place], MUTATORS, dice)
    return b"\n".join(lines)


def _parse(data: bytes) -> tuple[Any, list[_Slot]]:
    content = json.loads(data)
    return content, list(_slots(content))


def _slots(content: Any) -> Iterator[_Slot]:
    if isinstance(content, (dict, list)):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _slots(content[key])


def _text(content: Any) -> bytes:
    return json.dumps(content).encode()


MUTATORS = (
    value, value, value, value, swap, drop, rename, lengthen, nest, repeat_key, another_root,
    encoding,
    number_in_text,
)  # fmt: skip
