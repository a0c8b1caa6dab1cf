"""Settings and files of torch that all stages of a training share."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_effnet.errors import require
from edge_effnet.files import replacing


def let_waiting_threads_sleep() -> None:
    """Let OpenMP's waiting threads sleep; call it before torch is imported.

    By default they spin, and on a machine with other work they spin for a thread that does not run.
    A step of Lite0 on two cores at a load of 14 takes 12 s with spinning and 1.0 s without.
    ``OMP_WAIT_POLICY`` in the environment has priority.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` atomically with torch.save; raises `OutputError` if the disk is full."""
    torch = require("torch", "train")
    with replacing(path) as temporary:
        try:
            torch.save(dict(content), temporary)
        except RuntimeError as error:  # of a full disk, torch tells positions in the file
            raise OSError(errno.ENOSPC, "the disk is full") from error
