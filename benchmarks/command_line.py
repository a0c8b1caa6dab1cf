"""The command line that repeats a measurement, for results.json and the report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_effnet.files import PathLike
from edge_effnet.preprocess import Preprocess


def command_line(command: str, files: Sequence[PathLike], **options: Any) -> str:
    """``edge-effnet COMMAND FILES --option VALUE``, quoted for a POSIX shell.

    Args:
        command: Name of the command.
        files: Model files, and folders of model files.
        **options: Option names and values. A sequence or a mapping repeats the option. None and
            False are left out; True adds the option without a value.
    """
    words = ["edge-effnet", command, *(os.fspath(path) for path in files)]
    for name, value in _flattened(options.items()):
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(f"{value:g}" if isinstance(value, float) else str(value))
    return shlex.join(words)


def _flattened(options: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The options: sequences and mappings repeat an option, a `Preprocess` becomes several."""
    for name, value in options:
        if isinstance(value, Mapping):
            yield from ((name, f"{key}={entry}") for key, entry in value.items())
            continue
        if isinstance(value, (list, tuple)):
            yield from ((name, entry) for entry in value)
            continue
        if not isinstance(value, Preprocess):
            yield name, value
            continue
        yield "resolution", value.size
        for part in ("mean", "std"):
            yield part, ",".join(f"{number:g}" for number in getattr(value, part))
        yield "crop", value.crop
        yield "crop_mode", value.crop_mode
        yield "interpolation", value.interpolation
