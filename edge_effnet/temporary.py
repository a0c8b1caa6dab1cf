"""Temporary files and folders beside their targets, and the removal of those of killed processes.

A process locks its temporary files while it writes them. The system releases the locks of a process
that ends in any way, so a file without a lock is a leftover. Without locks (Windows), nothing is
removed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_RANDOM_BYTES = 4
_NAME = re.compile(rf"\.(?P<target>.+)\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.part")


@contextmanager
def beside(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """A new, locked file (or empty folder) beside ``target``, removed at the end if still there.

    Leftovers of ``target`` are removed first. Raises `OSError` if nothing can be created.
    """
    remove_leftovers(target.parent, target.name)
    while True:
        # The name is fixed before the file exists, so that Ctrl-C at any time leaves no file.
        path = target.with_name(f".{target.name}.{os.urandom(_RANDOM_BYTES).hex()}.part")
        lock = None
        try:
            if folder:
                path.mkdir()
            else:
                path.touch(exist_ok=False)
            lock = _lock(path)
            if path.exists():  # else another process took it for a leftover, before it was locked
                yield path
                return
        finally:
            _remove(path)
            if lock is not None:
                os.close(lock)


def remove_leftovers(folder: Path, target: str | None = None) -> None:
    """Remove temporary files of killed processes from ``folder``, or only those of ``target``."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _NAME.fullmatch(entry.name)
            if match and target in (None, match["target"]) and not entry.is_symlink():
                lock = _lock(Path(entry.path))
                if lock is not None:
                    _remove(Path(entry.path))
                    os.close(lock)


def _lock(path: Path) -> int | None:
    """Descriptor of the locked ``path``; None if another process holds it, or without locks."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
