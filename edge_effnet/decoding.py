"""Conversion of parsed JSON to annotated frozen dataclasses; errors name the mismatched value."""

from __future__ import annotations

import sys
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edge_effnet.errors import EdgeEffNetError, UsageError


def decode(
    kind: Any,
    value: Any,
    source: str = "a record",
    advice: str = "measure again",
    error: type[EdgeEffNetError] = UsageError,
) -> Any:
    """``value`` of parsed JSON as an instance of the annotated type ``kind``.

    Args:
        kind: A dataclass, tuple, optional, mapping, Literal or scalar type. Unknown keys are
            ignored.
        value: What `json.loads` returned.
        source: Where the JSON comes from, for the error message.
        advice: What to do after an error.
        error: Class of the error.

    Returns:
        The instance.

    Raises:
        UsageError: A value is missing, of another type, or refused by its class; or ``error``.
    """
    try:
        return _decode(kind, value, "")
    except (_Mismatch, UsageError) as mismatch:
        raise error(f"{source} cannot be used: {mismatch}; {advice}") from mismatch


class _Mismatch(Exception):
    """A value that is not of the annotated type; the message has its path in the JSON."""


def _decode(kind: Any, value: Any, path: str) -> Any:
    """``value`` as the annotated type ``kind``; raises `_Mismatch` naming ``path``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value, path)
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, path)
    if origin is Literal:
        _expect(value in arguments, value, f"one of {', '.join(map(str, arguments))}", path)
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value, path)
    if origin is not None:  # Mapping[str, ...]
        _expect(isinstance(value, dict), value, "an object", path)
        return {name: _decode(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _expect(number and abs(value) <= sys.float_info.max, value, "a number", path)
        return float(value)
    exact = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    _expect(exact, value, {str: "text", int: "a whole number", bool: "true or false"}[kind], path)
    return value


def _decode_dataclass(kind: Any, value: Any, path: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", path)
    hints = _hints(kind)
    arguments = {}
    for entry in fields(kind):
        inner = f"{path}.{entry.name}".lstrip(".")
        if entry.name in value:
            arguments[entry.name] = _decode(hints[entry.name], value[entry.name], inner)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise _Mismatch(f"{inner} is missing")
    return kind(**arguments)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    _expect(isinstance(value, (list, tuple)), value, "a list", path)
    if arguments[-1] is Ellipsis:
        kinds = (arguments[0],) * len(value)
    else:
        kinds = arguments
        _expect(len(value) == len(kinds), value, f"a list of {len(kinds)}", path)
    return tuple(
        _decode(kind, item, f"{path}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _expect(holds: bool, value: Any, expected: str, path: str) -> None:
    if not holds:
        raise _Mismatch(f"{path or 'the content'} is {str(value)[:40]!r}, not {expected}")
