"""Paths, and atomic writing of files."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_effnet import temporary
from edge_effnet.errors import EdgeEffNetError, OutputError

PathLike = str | os.PathLike[str]


def user_cache() -> Path | None:
    """The folder for what can be made again, which may not exist yet; None without a home folder.

    Linux: ``$XDG_CACHE_HOME/edge-effnet`` or ``~/.cache/edge-effnet`` (XDG Base Directory
    Specification).
    """
    folder = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if os.path.isabs(folder):
        return Path(folder, "edge-effnet")
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        return None
    return Path(home, *_CACHES.get(sys.platform, (".cache",)), "edge-effnet")


_CACHES = {"darwin": ("Library", "Caches"), "win32": ("AppData", "Local")}


def unique_paths(paths: Iterable[PathLike]) -> list[str]:
    """Paths as text, in order, without duplicates; symbolic links are resolved to compare them."""
    first: dict[str, str] = {}
    for path in paths:
        first.setdefault(os.path.realpath(path), os.fspath(path))
    return list(first.values())


def missing(path: PathLike) -> str:
    """Sentence for a ``path`` that does not exist, with the nearest name in its folder."""
    text = os.fspath(path)
    if "://" in text or text.startswith(("http:/", "https:/")):
        return f"{text} is an address, not a file; download it first"
    folder = Path(text).parent
    if not folder.is_dir():
        return f"there is no file {text}: the folder {folder} does not exist"
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    near = difflib.get_close_matches(Path(text).name, names, n=1, cutoff=0.75)
    advice = f"did you mean {folder / near[0]}?" if near else "check the path"
    return f"there is no file {text}; {advice}"


def is_utf8(name: str) -> bool:
    """Whether a file's name, as the system returns it, can be written as UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding stand in it as lone surrogates
        return False
    return True


def relative_name(path: PathLike, folder: PathLike) -> str:
    """``path`` relative to ``folder`` with slashes; with ``..`` if it lies outside the folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create ``path`` with its parents and check that files can be created in it.

    Temporary files that killed processes left in it are removed.

    Raises:
        OutputError: The folder cannot be created or written.
    """
    folder = _folder(Path(path))
    temporary.remove_leftovers(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write in the folder {folder}: {error.strerror}",
            hint="choose another with out=",
        ) from error
    return folder


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot create the folder {path}: {error.strerror}", hint="choose another with out="
        ) from error
    return path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Context manager: a temporary path beside ``path`` that replaces ``path`` on success.

    On any exception, Ctrl-C included, the temporary file is removed and ``path`` is unchanged.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    target = Path(path)
    _folder(target.parent)
    if target.exists() and not target.is_file():
        raise OutputError(
            f"cannot write {target}: it is a folder or a device, not a file; choose another name"
        )
    created = False
    try:
        with temporary.beside(target) as path:
            created = True
            yield path
            with open(path, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(path, target)
    except EdgeEffNetError:
        raise
    except OSError as error:
        if not created:
            raise OutputError(
                f"cannot write {target}: {error.strerror}",
                hint="choose a writable folder with out=",
            ) from error
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; free some space or choose another "
            "folder"
        ) from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write ``data`` to ``path`` atomically and return the path."""
    target = Path(path)
    with replacing(target) as path:
        path.write_bytes(data)
    return target


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` as UTF-8 to ``path`` atomically and return the path."""
    return write_bytes(path, text.encode())
