"""Paths of a user -> contents of regular files, of bounded size.

A named pipe, a socket or a device in place of a file could keep a command waiting for ever, or feed
it without end. The errors are `OSError`s, as those of `open`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat

PathLike = str | os.PathLike[str]

#: Most bytes that are read at once: 2 GiB, the largest flatbuffer or protobuf.
MOST_BYTES = 1 << 31
_CHUNK = 1 << 16
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: PathLike) -> int:
    """Size of the file ``path`` in bytes.

    Raises:
        OSError: It is missing, a folder, a named pipe, a socket or a device.
    """
    status = os.stat(path)
    name = os.fspath(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    kind = next((kind for test, kind in _KINDS if test(status.st_mode)), None)
    if kind is not None:
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", name)
    return status.st_size


def read_bytes(path: PathLike, most: int = MOST_BYTES) -> bytes:
    """Content of the regular file ``path``.

    Raises:
        OSError: As `check_regular`, or the file has more than ``most`` bytes.
    """
    size = check_regular(path)
    if size > most:
        text = f"it has {size / 1e9:,.1f} GB, more than the {most / 1e9:,.1f} GB that are read"
        raise OSError(errno.EFBIG, text, os.fspath(path))
    with open(path, "rb") as file:
        return file.read(size)


def read_text(path: PathLike, encoding: str = "utf-8") -> str:
    """As `read_bytes`, decoded; also raises `UnicodeDecodeError`."""
    return read_bytes(path).decode(encoding)


def update_digest(digest: hashlib._Hash, path: PathLike) -> None:
    """Feed the content of the regular file ``path`` to ``digest``, 64 KiB at a time."""
    check_regular(path)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)


def sha256(path: PathLike) -> str:
    """The sha256 of the regular file ``path``, 64 hex digits; its size does not matter."""
    digest = hashlib.sha256()
    update_digest(digest, path)
    return digest.hexdigest()
