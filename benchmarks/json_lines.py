"""Lines that another process or machine prints, with a limit on their length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

#: Most bytes of one line.
MOST_BYTES = 16 << 20


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a stream; raises `ValueError` for a line of more than `MOST_BYTES`."""
    while line := stream.readline(MOST_BYTES + 1):
        if len(line) > MOST_BYTES:
            raise ValueError("a line without end")
        yield line
