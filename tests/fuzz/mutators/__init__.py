"""Mutators: functions (data, dice) -> data that change one fact of a file of one format.

A mutator may raise any exception where the data has no such fact.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Mutator = Callable[[bytes, random.Random], bytes]

#: Values at which sizes, strides, offsets, axes and indices break.
EXTREMES = (
    0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 4095, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31,
    2**32 - 1, 2**32, 2**40, 2**53 + 1, 2**63 - 1, -1, -2, -128, -(2**31), -(2**63),
)  # fmt: skip


_LARGEST = 4 << 20  # bytes of a mutant: small files must not cost much


def mutated(data: bytes, mutators: Sequence[Mutator], dice: random.Random) -> bytes:
    """``data`` after one to three of ``mutators``; ones that do not fit are tried in vain."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        for _ in range(4):
            try:
                changed = dice.choice(mutators)(data, dice)
            except Exception:  # noqa: S112 - an earlier mutator broke what this one reads
                continue
            if changed != data and len(changed) <= _LARGEST:
                data = changed
                break
    return data
