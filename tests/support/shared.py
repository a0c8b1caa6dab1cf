"""Folders that all processes of a test session share: whichever needs one first fills it.

They lie in EDGE_EFFNET_TESTS_FOLDER, so that several sessions on one state of the code can share
them too; CI does.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

VARIABLE = "EDGE_EFFNET_TESTS_FOLDER"


def pytest_configure(config: pytest.Config) -> None:
    """Make the session's folder, unless one is given; workers inherit its name."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = folder = tempfile.mkdtemp(prefix="edge-effnet-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop(VARIABLE))


def shared(name: str, fill: Callable[[Path], object]) -> Path:
    """The session's folder ``name``, filled once by ``fill``; do not change what is in it.

    The path of a folder does not depend on who fills it, nor on whether that fails at first.
    """
    root = Path(os.environ[VARIABLE])
    folder = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(dir=root, prefix=f"{name}-"))
            fill(unfinished)
            unfinished.rename(folder)
    return folder
