"""Suppression of the log lines of native libraries that no option disables."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_lock = threading.RLock()


@contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Discard what is written to file descriptors, by default 2; exceptions are still raised."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # closed
                stream.flush()
    with _lock, ExitStack() as undo:
        sink = os.open(os.devnull, os.O_WRONLY)
        undo.callback(os.close, sink)
        for descriptor in descriptors or (2,):
            saved = _duplicate(descriptor)
            if saved is None:
                continue
            undo.callback(os.close, saved)
            undo.callback(os.dup2, saved, descriptor)
            os.dup2(sink, descriptor)
        undo.callback(_flush)
        yield


def _flush() -> None:
    """Write out what C's stdio has buffered, while it is still discarded."""
    with suppress(AttributeError, OSError, TypeError):  # no C library by this name
        ctypes.CDLL(None).fflush(None)


def _duplicate(descriptor: int) -> int | None:
    """A duplicate of the file descriptor; None if it is closed."""
    try:
        return os.dup(descriptor)
    except OSError:
        return None
