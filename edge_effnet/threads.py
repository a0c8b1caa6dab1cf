"""The number of compute threads: by default, and the largest that a user may ask for."""

from __future__ import annotations

import os

from edge_effnet.errors import UsageError

#: Accepted on every machine, and per core on large ones.
_MOST, _MOST_PER_CORE = 64, 4


def check_threads(threads: int, least: int = 1) -> int:
    """``threads`` if a runtime can start as many.

    A runtime that cannot may end the process, or wait for ever.

    Raises:
        UsageError: There are less than ``least`` (0: a thread per core), or far more than cores.
    """
    cores = os.cpu_count() or 1
    most = max(_MOST, _MOST_PER_CORE * cores)
    if not least <= threads <= most:
        raise UsageError(
            f"{threads:,} threads cannot compute on {cores} cores",
            hint=f"omit threads=, or give 1 to {most}",
        )
    return threads


def default_threads() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
