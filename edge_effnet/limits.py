"""Limits on a child process that reads a file from a stranger."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

#: Time and memory for any input below 100 MB; larger inputs get more of both.
SECONDS = 15
MEMORY = 1 << 30
_SECONDS_PER_BYTE = 1 / (5 << 20)  # a Raspberry Pi 4 reads, hashes and opens about 20 MB a second
_MEMORY_PER_BYTE = 8  # weights in float32 unpacked from float16, packed again, and a copy of each
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h


def seconds_for(size: int) -> int:
    """Seconds allowed to read ``size`` bytes."""
    return SECONDS + int(size * _SECONDS_PER_BYTE)


def memory_for(size: int) -> int:
    """Bytes of memory allowed to read ``size`` bytes."""
    return MEMORY + size * _MEMORY_PER_BYTE


def apply(size: int) -> None:
    """Limit this process to what reading ``size`` bytes may cost, for good.

    CPU time and memory are limited. Files cannot be written and, where the system allows it, no
    network is left. Windows has none of these limits.

    Args:
        size: Number of bytes of the input file.
    """
    try:
        import resource
    except ImportError:
        return
    for name, most in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CPU", seconds_for(size)),
        ("RLIMIT_DATA", memory_for(size)),
    ):
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        with suppress(ValueError, OSError):  # the hard limit is lower, or the system has none
            resource.setrlimit(kind, (most, hard))
    if hasattr(os, "fork"):
        with suppress(AttributeError, OSError):  # not Linux
            ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
