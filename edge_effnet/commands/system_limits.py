"""Errors of the operating system -> sentences: a file that cannot be used, or a limit reached."""

from __future__ import annotations

import errno
import os
import signal
import sys

#: errno -> what to do.
_LIMITS = {
    errno.EMFILE: "raise the limit of open files (ulimit -n 1024)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs, or raise the limit of memory (ulimit -v unlimited)",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or give fewer --threads",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f unlimited)",
    errno.ENOSPC: "free some space",
}
_MEMORY = f"there is not enough memory; {_LIMITS[errno.ENOMEM]}"
#: Share of the limit of memory above which an unknown error is due to it: libraries report a failed
#: allocation in many ways.
_NEARLY = 0.8
#: Signals by which a process ends when a native library uses memory that it did not get.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP)


def outlive() -> str | None:
    """Under a limit of memory, go on in a child process; a sentence if that process crashes.

    Native libraries crash where an allocation fails. Returns None in the process that goes on: the
    child, or this process if no limit is set. Otherwise this process waits and ends as its child
    ends; it passes SIGTERM on, and the terminal sends SIGINT to both. Call it before threads start.
    """
    if sys.platform == "win32" or not _has_memory_limit():
        return None
    waiting = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waiting)  # none is lost before its handler is set
    child = os.fork()
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, waiting)
    if child == 0:
        return None
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -code in _CRASHES:
        return _MEMORY
    if code < 0:
        if -code != signal.SIGKILL:  # the only one of them whose handler cannot be set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _has_memory_limit() -> bool:
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def explain(error: Exception) -> str | None:
    """A sentence on ``error`` with advice; None if it is another kind of error, such as a bug."""
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        advice = _LIMITS.get(error.errno)
        if error.filename is not None or advice is not None:
            place = "" if error.filename is None else f"{error.filename}: "
            return f"{place}{error.strerror}; {advice or 'check the path'}"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return f"no more threads can be started; {_LIMITS[errno.EAGAIN]}"
    return f"{_MEMORY} ({error})" if _memory_used() > _NEARLY else None


def _memory_used() -> float:
    """Share of the limit of this process's address space that it reached; 0 without a limit."""
    if sys.platform != "linux":
        return 0.0
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return 0.0
    with open("/proc/self/status", encoding="ascii") as status:
        sizes = {key: value for key, _, value in (line.partition(":") for line in status)}
    return int(sizes["VmPeak"].split()[0]) * 1024 / limit
