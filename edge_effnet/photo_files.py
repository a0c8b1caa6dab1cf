"""Listing of the photo files in a folder, and checks whether Pillow can decode a format."""

from __future__ import annotations

import os
import threading
import warnings
from collections import Counter, deque
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edge_effnet.errors import ImageError, MissingExtra, require

if TYPE_CHECKING:
    from PIL.Image import Image

#: Suffixes of formats that Pillow decodes.
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".gif", ".tif", ".tiff"),
        *(".webp", ".ppm", ".pgm", ".avif"),
    ]
)
#: Suffixes of HEIC photos (iPhone); Pillow needs the package pillow-heif to decode them.
HEIF_SUFFIXES = frozenset([".heic", ".heif", ".hif"])
#: Suffixes of formats that Pillow cannot decode, or only as a small preview.
OTHER_SUFFIXES = frozenset(
    [".arw", ".cr2", ".cr3", ".dng", ".jxl", ".nef", ".orf", ".raf", ".raw", ".rw2"]
)
#: Pillow's plugins that open photos, beside those that it always loads. By default, Pillow chooses
#: among all plugins by a file's content, whatever its suffix. That of EPS starts Ghostscript, which
#: runs the program in the file.
_PLUGINS = ("AvifImagePlugin", "Jpeg2KImagePlugin", "TiffImagePlugin", "WebPImagePlugin")
_DECODERS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM"),
    *("TIFF", "WEBP"),
)
#: Folders with copies and previews that operating systems and programs create beside photos.
_NOT_PHOTOS = frozenset(["__MACOSX", "@eaDir", "$RECYCLE.BIN"])
_SHOWN = 5  # suffixes listed in an error message
_OPENING = threading.Lock()

# Pillow warns of damaged metadata while it decodes. The pixels decide whether a photo is used.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All photo files under ``folder``, sorted by path.

    Linked folders are followed once. Hidden files and folders are skipped. Undecodable photos (HEIC
    without pillow-heif, camera raw files, broken links) are listed; they fail when they are opened.

    Raises:
        ImageError: The folder is missing, unreadable or without photos, or a link is broken or
            circular.
    """
    root = Path(folder)
    if not root.is_dir():
        fault = "is not a folder" if root.exists() else "does not exist"
        raise ImageError(f"the photo folder {root} {fault}; give a folder of photos")
    photos: list[Path] = []
    others: Counter[str] = Counter()
    visited: set[str] = set()
    # Links are followed after all real folders, so that photos get their real path.
    links: deque[Path] = deque()
    pending: deque[Path] = deque([root])
    while pending or links:
        inside = pending.popleft() if pending else links.popleft()
        real = os.path.realpath(inside)
        if real in visited:
            continue
        visited.add(real)
        for entry in _entries(inside):
            path = inside / entry.name
            if entry.name.startswith(".") or entry.name in _NOT_PHOTOS:
                continue
            if _is_folder(entry):
                if entry.is_symlink():
                    _check_link(path, real)
                (links if entry.is_symlink() else pending).append(path)
            elif path.suffix.lower() in SUFFIXES | HEIF_SUFFIXES | OTHER_SUFFIXES:
                photos.append(path)
            elif entry.is_symlink() and not path.suffix and not path.exists():
                raise ImageError(
                    f"the link {path} leads to {os.readlink(path)}, which is not there; mount or "
                    "copy it, or remove the link"
                )
            else:
                others[path.suffix.lower() or "without a suffix"] += 1
    if not photos:
        there = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(_SHOWN))
        raise ImageError(
            f"the folder {root} holds no images ({' '.join(sorted(SUFFIXES | HEIF_SUFFIXES))})"
            f"{f' but other files: {there}' if there else ''}; "
            "give a folder of photos like those the model will see"
        )
    return sorted(photos)


def check_decodable(path: Path) -> None:
    """Prepare Pillow to decode ``path``.

    Raises:
        ImageError: Pillow cannot decode the format, decodes only a small preview, or needs
            pillow-heif.
    """
    suffix = path.suffix.lower()
    if suffix in OTHER_SUFFIXES:
        raise ImageError(
            f"{path} is a {suffix} file, which Pillow does not decode; save it as JPEG"
        )
    if suffix in HEIF_SUFFIXES:
        try:
            require("pillow_heif", "heif").register_heif_opener()
        except MissingExtra as error:
            raise ImageError(f"{path} is a HEIC photo: {error.message}") from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ImageError(f"the photo folder {folder} cannot be read: {error.strerror}") from error


def open_image(file: Path | BinaryIO) -> Image:
    """Open an image file without decoding it.

    Raises:
        PIL.Image.DecompressionBombWarning: The image has more pixels than Pillow decodes safely.
    """
    from PIL import Image

    # Threads that change the filters of warnings at the same time would not restore them.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.preinit()
        for plugin in _PLUGINS:
            with suppress(ImportError):  # of an older Pillow
                import_module(f"PIL.{plugin}")
        return Image.open(file, formats=[name for name in _DECODERS if name in Image.OPEN])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # the link points to itself
        return False


def _check_link(link: Path, folder: str) -> None:
    """Raise `ImageError` if ``link``, in the real path ``folder``, points to a parent or itself."""
    target = os.path.realpath(link)
    if folder == target or folder.startswith(target.rstrip(os.sep) + os.sep):
        raise ImageError(
            f"the link {link} leads back to {target}, which it lies in: its photos would be read "
            "again and again; remove the link"
        )
