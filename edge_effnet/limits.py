"""Limits on a child process that reads a file from a stranger."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress

from edge_effnet import subprocesses

#: Time and memory for small inputs: with the calling process, 1 GB. Large ones get more: 18 s and
#: 1.4 GB for 100 MB.
SECONDS = 15
MEMORY = 900 << 20
_LARGE, _SECONDS_TO_LARGE = 100 << 20, 3
_SECONDS_PER_BYTE = 1 / (5 << 20)  # above `_LARGE`; a Raspberry Pi 4 opens about 20 MB a second
#: Memory by size, above 50 MB. The conversion of a foreign .onnx file of 91 MB takes 1.02 GB.
_LEAST_MEMORY, _MEMORY_PER_BYTE = 400 << 20, 10
_MOST_LOAD = 4.0
_OUT_OF_TIME = getattr(signal, "SIGXCPU", 24)  # Windows has no such signal
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h


def seconds_for(size: int) -> int:
    """Seconds allowed to read ``size`` bytes."""
    small = min(size, _LARGE)
    rest = (size - small) * _SECONDS_PER_BYTE
    return SECONDS + int(small * _SECONDS_TO_LARGE / _LARGE + rest)


def patience(size: int) -> float:
    """Seconds of wall-clock time allowed to read ``size`` bytes; up to four times beside others.

    The factor is the load average per core. CPU time stays limited to `seconds_for` the size.
    """
    return seconds_for(size) * min(max(_load(), 1.0), _MOST_LOAD)


def slowness(size: int, late: subprocess.TimeoutExpired) -> str:
    """Why reading ``size`` bytes took too long (`run` raised ``late``), and what to do next."""
    if late.timeout > seconds_for(size):
        return (
            f"not read within {late.timeout:.0f} s beside the other work on this machine; try "
            "again when it is idle"
        )
    return f"not read within {late.timeout:.0f} s: it is damaged or made to last; do not use it"


def _load() -> float:
    """Processes that wait for a core or run, per core, in the last minute; 0 if unknown."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows, or a system that does not tell
        return 0.0


def memory_for(size: int) -> int:
    """Bytes of memory allowed to read ``size`` bytes."""
    return max(MEMORY, _LEAST_MEMORY + size * _MEMORY_PER_BYTE)


def run(
    module: str, arguments: Sequence[str], size: int, meanwhile: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run ``module`` in a child process with these limits, and wait for its end.

    Args:
        module: Dotted name of the module.
        arguments: Its arguments.
        size: Number of bytes of the input file.
        meanwhile: Called here while the child process runs.

    Returns:
        The exit code (negative: the signal that ended it), standard output and standard error.

    Raises:
        subprocess.TimeoutExpired: The process was ended after `patience` with its size, or by its
            limit of CPU time.
        OSError: No process can be started.
    """
    with subprocess.Popen(  # noqa: S603
        subprocesses.command(module, *arguments, limited_to=size),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            if meanwhile is not None:
                meanwhile()
            out, err = process.communicate(timeout=patience(size))
        except BaseException:
            process.kill()
            raise
        if process.returncode == -_OUT_OF_TIME:
            raise subprocess.TimeoutExpired(process.args, seconds_for(size), out, err)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


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
    tempfile.gettempdir()  # remembered: torch asks for it, and it is chosen by writing there
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
