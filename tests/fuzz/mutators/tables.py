"""Mutators of CSV and of lines of text."""

from __future__ import annotations

import random

_CELLS = (
    "", " ", "-1", "1e3", "nan", "inf", "?", "9" * 5000, "99999999999", "0x1", "é" * 200, '"',
    "'", "\0", "a\tb",
    "../../etc/hostname", "/dev/zero", "a" * 5000, "\x1b[31mred", "\u2028", "=1+1", "CAT ",
    "True", "None",
)  # fmt: skip


def cell(data: bytes, dice: random.Random) -> bytes:
    rows = [line.split(",") for line in data.decode().split("\n")]
    row = dice.choice(rows)
    row[dice.randrange(len(row))] = dice.choice(_CELLS)
    return "\n".join(map(",".join, rows)).encode()


def column(data: bytes, dice: random.Random) -> bytes:
    """A cell added to, or removed from, a row."""
    rows = [line.split(",") for line in data.decode().split("\n")]
    row = dice.choice(rows)
    if dice.random() < 0.5:
        row.insert(dice.randrange(len(row) + 1), dice.choice(_CELLS))
    else:
        del row[dice.randrange(len(row))]
    return "\n".join(map(",".join, rows)).encode()


def lines(data: bytes, dice: random.Random) -> bytes:
    rows = data.split(b"\n")
    place = dice.randrange(len(rows))
    match dice.randrange(4):
        case 0:
            del rows[place]
        case 1:
            rows[place:place] = [dice.choice(rows)] * dice.choice((1, 2, 3000))
        case 2:
            rows.insert(place, b"")
        case _:
            dice.shuffle(rows)
    return b"\n".join(rows)


def separators(data: bytes, dice: random.Random) -> bytes:
    old, new = dice.choice(
        ((b",", b";"), (b",", b"\t"), (b"\n", b"\r"), (b"\n", b"\r\n"), (b",", b"|"), (b"\n", b""))
    )
    return data.replace(old, new, dice.choice((1, -1)))


def encoding(data: bytes, dice: random.Random) -> bytes:
    return data.decode().encode(dice.choice(("utf-16", "utf-32", "utf-8-sig", "utf-16-le")))


def quote(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + b'"' * dice.choice((1, 2, 3)) + data[place:]


MUTATORS = (cell, cell, cell, column, lines, separators, encoding, quote)
