"""Paths that are no regular files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

KINDS = ("pipe", "socket", "endless", "empty", "folder")


def special(kind: str, path: Path) -> Path:
    """``path``, made a named pipe, a socket, a folder, or a link to /dev/zero or /dev/null."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        folder = os.open(path.parent, os.O_RDONLY)  # the addresses of sockets are short
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"endless": "/dev/zero", "empty": "/dev/null"}[kind])
    return path
