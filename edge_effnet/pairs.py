"""Pairs of files (an OpenVINO .xml and its .bin): replaced together, whatever ends the process.

Two files cannot be renamed at once. The new .xml is first complete under the name `next_path`, then
the .bin is replaced, then the .xml. A process that ends in between leaves either the old pair, or
the new .bin beside the new .xml under its other name.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge_effnet import digest, reading
from edge_effnet.errors import ModelFileError
from edge_effnet.files import replacing
from edge_effnet.formats import companion_path

_NEXT = ".next"


def next_path(path: Path) -> Path:
    """Where the new content of ``path`` is while its companion file is replaced."""
    return path.with_name(f".{path.name}{_NEXT}")


def write(path: Path, data: bytes, companion: bytes) -> None:
    """Replace ``path`` and its companion file.

    Raises:
        OutputError: A file cannot be written; the old pair is unchanged.
    """
    beside = companion_path(path)
    if beside is None or not companion:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        return
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
            with replacing(beside) as other:
                other.write_bytes(companion)
                # A second name of the complete file, until the first one is renamed.
                _link(temporary, next_path(path))
    except BaseException:
        _settle(next_path(path))
        raise
    next_path(path).unlink(missing_ok=True)


def read(path: Path, beside: Path) -> tuple[bytes, bytes]:
    """Contents of ``path`` and of its companion file, also while and after they are replaced.

    Raises:
        OSError: A file cannot be read.
    """
    if path.exists():
        reading.check_regular(path)
    companion = reading.read_bytes(beside)
    newer = next_path(path)
    interrupted = (
        newer.exists()
        and _belong_together(newer, companion)
        and not _belong_together(path, companion)
    )
    return reading.read_bytes(newer if interrupted else path), companion


def finish(folder: Path) -> None:
    """Complete the interrupted replacements in ``folder``."""
    for newer in folder.glob(f".*{_NEXT}"):
        _settle(newer)


def _settle(newer: Path) -> None:
    """Give the file ``newer`` its own name if its companion file is in place, else remove it."""
    path = newer.with_name(newer.name[1 : -len(_NEXT)])
    beside = companion_path(path)
    if beside is None or not newer.exists():
        return
    companion = reading.read_bytes(beside) if beside.is_file() else b""
    if _belong_together(newer, companion) and not _belong_together(path, companion):
        os.replace(newer, path)
    else:
        newer.unlink(missing_ok=True)


def _belong_together(path: Path, companion: bytes) -> bool:
    """Whether the digest in ``path`` is that of ``path`` and ``companion``."""
    try:
        return digest.verify(reading.read_bytes(path), companion) is not None
    except (OSError, ModelFileError):
        return False


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        target.write_bytes(source.read_bytes())
