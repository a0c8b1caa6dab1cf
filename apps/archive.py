"""Folders and .tar.gz archives, written completely or not at all."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from edge_effnet import temporary
from edge_effnet.errors import OutputError, UsageError
from edge_effnet.files import make_folder, write_bytes

ARCHIVE = ".tar.gz"
#: Relative path (with forward slashes) -> file content.
Files = Mapping[str, bytes]


def check_free(out: str | os.PathLike[str]) -> Path:
    """``out`` as a path; it may exist only as an empty folder or an archive, else `UsageError`."""
    target = Path(out)
    taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken and not target.name.endswith(ARCHIVE):
        raise UsageError(
            f"{target} exists and is not empty; remove it", hint="or choose another with out="
        )
    return target


def write_files(
    files: Files, out: str | os.PathLike[str], executable: frozenset[str] = frozenset()
) -> Path:
    """Write ``files`` to the folder ``out``, or to an archive if its name ends in ``.tar.gz``.

    Archives are deterministic: equal files give equal bytes.

    Args:
        files: Content by relative path.
        out: Path of a missing or empty folder, or of an archive.
        executable: Paths of executable files.

    Raises:
        UsageError: The folder is not empty.
        OutputError: ``out`` cannot be written.
    """
    target = check_free(out)
    if target.name.endswith(ARCHIVE):
        return write_bytes(target, _archive(files, target.name.removesuffix(ARCHIVE), executable))
    make_folder(target.parent)
    try:
        with temporary.beside(target, folder=True) as folder:
            for name, data in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                path.chmod(0o755 if name in executable else 0o644)
            os.replace(folder, target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; free some space or choose another "
            "folder"
        ) from error
    return target


def _archive(files: Files, folder: str, executable: frozenset[str]) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(data)
            entry.mode = 0o755 if name in executable else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
