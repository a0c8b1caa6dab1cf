"""Damaged files: a few bytes replaced by numbers that offsets and counts are likely to be."""

from __future__ import annotations

import numpy as np


def mutant(data: bytes, end: int, seed: int) -> bytes:
    """``data`` with up to three bytes, halves or words before ``end`` replaced by likely ones."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.choice([1, 2, 4]))
        place = int(rng.integers(0, end)) // width * width
        likely = [0, 1, 2, 4, 8, 16, 255, 2**31 - 1, 2**31, 2**32 - 1, int(rng.integers(0, 2**32))]
        value = int(rng.choice(np.array(likely))) % 256**width
        changed[place : place + width] = value.to_bytes(width, "little")
    return bytes(changed)
