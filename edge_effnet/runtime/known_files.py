"""Memory of the model files that opened safely before, in the user's cache folder.

A file is known by its digest, which covers all of its bytes. Known files need no child process.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edge_effnet.files import user_cache
from edge_effnet.version import VERSION

_HEXADECIMAL = set("0123456789abcdef")
#: Digests of the files that this process may open, whether or not the cache can be written.
_trusted: set[str] = set()


def is_known(digest: str) -> bool:
    """Whether a file with this sha256 (64 hex digits) opened safely before."""
    entry = _entry(digest)
    if digest in _trusted:
        return True
    try:
        return entry is not None and entry.is_file()
    except OSError:
        return False


def trust(digest: str) -> None:
    """Let this process open the file with this sha256 as it is."""
    _entry(digest)
    _trusted.add(digest)


def remember(digest: str) -> None:
    """Record that the file with this sha256 opens safely, for other processes if possible."""
    trust(digest)
    entry = _entry(digest)
    if entry is not None:
        with suppress(OSError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            entry.touch()


def _entry(digest: str) -> Path | None:
    if len(digest) != 64 or not set(digest) <= _HEXADECIMAL:
        raise ValueError(f"{digest!r} is no sha256")
    folder = user_cache()
    # Another release may check more: files are checked again after an update.
    return None if folder is None else folder / "opened" / VERSION / digest
