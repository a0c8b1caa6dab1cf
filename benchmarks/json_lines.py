"""Output of another process or machine -> JSON objects, one per line; memory is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from edge_effnet import json_text

#: Most bytes of one line.
MOST_BYTES = 16 << 20


def object_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line of output; None for any other line, such as a banner."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        content = json_text.parse(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a stream; raises `ValueError` for a line of more than `MOST_BYTES`."""
    while line := stream.readline(MOST_BYTES + 1):
        if len(line) > MOST_BYTES:
            raise ValueError("a line without end")
        yield line
