"""Warnings that are attributed to the caller's line of code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from itertools import count

from edge_effnet import printable

#: Callback for notes to the user, called with one sentence.
Notify = Callable[[str], None]
_PACKAGE = __name__.partition(".")[0]


def warn(text: str) -> None:
    """Issue a `UserWarning` at the innermost line outside this package."""
    warnings.warn(printable.message(text), stacklevel=_frames_of_ours() + 1)


def _frames_of_ours() -> int:
    """Number of stack frames of this package, from `warn` outwards."""
    frame = sys._getframe(1)
    for depth in count(1):
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != _PACKAGE or frame.f_back is None:
            return depth - 1
        frame = frame.f_back
    raise AssertionError("a stack ends")
