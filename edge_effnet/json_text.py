"""JSON from files, with limits on depth, on the number of values and on the length of numbers.

`json.loads` raises RecursionError for nested lists, takes quadratic time for long integers, and
makes 60 bytes and more of each empty list.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

#: No file of this project, of Keras or of timm nests deeper than a tenth of this.
MAX_DEPTH = 200
MAX_BYTES = 32 << 20
#: Beyond the times of all operators of a thousand measurements.
MAX_VALUES = 4_000_000
_TOO_DEEP = f"JSON nested deeper than {MAX_DEPTH} levels"
_MAX_DIGITS = 40  # int64 and float64 need at most 24 characters


def parse(
    text: str | bytes,
    *,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
    finite: bool = False,
) -> Any:
    """The value of the JSON ``text``.

    Args:
        text: At most `MAX_BYTES` characters; bytes are UTF-8.
        pairs: Function that makes the value of an object from its (key, value) pairs; by default
            `dict`.
        finite: Whether NaN and Infinity, which are not JSON, are refused.

    Raises:
        ValueError: ``text`` is not JSON, too long, nested too deeply, has too many values, or a
            number of more digits than any machine type.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 20} MB of JSON")
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if most_values(text) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values in JSON")
    try:
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=_integer,
            parse_constant=_refuse if finite else None,
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(value)
    return value


def object_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line of output; None for any other line, such as a banner."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        content = parse(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def most_values(text: str) -> int:
    """Upper limit of the number of values in the JSON ``text``, without parsing it."""
    # Each value but the first follows one of these characters, which texts may have too.
    return 1 + sum(map(text.count, ",[{:"))


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
