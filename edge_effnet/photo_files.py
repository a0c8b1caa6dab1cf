"""Listing of the photo files in a folder, opening of photos, and limits of what decoding costs."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from edge_effnet.errors import ImageError, MissingExtra, require

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

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
_START_OF_SCAN = b"\xff\xda"  # JPEG's marker SOS (ITU-T T.81, table B.1)
_MOST_WIDE_PIXELS = 32_000_000  # with 32 bits; several copies are held while it is converted
#: Pictures of four bytes a pixel that decoding holds at a time; 2 for other formats.
_COPIES = {"WEBP": 5, "AVIF": 4, "HEIF": 4, "JPEG2000": 5}
_MOST_COPIED_PIXELS = 250_000_000  # 1 GB
_MOST_VISITS = 1_000_000_000  # of pixels; Pillow's limit of 89 million pixels, in 11 scans
_LONGEST_SIDE = 1_000_000  # Pillow holds two pointers a row
#: Largest file of a format that Pillow decodes in Python, at about 5 MB a second.
_MOST_SLOW_BYTES = 16 << 20
#: Largest number of reads. Pillow reads metadata in small pieces, and PNG in blocks of 8 KiB.
_MOST_READS = 1_000_000
#: Pixels that threads decode at the same time.
_PIXELS_AT_ONCE = 100_000_000
_TURNS = threading.Condition()
_decoding: list[int] = []

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
            "give a folder of photos"
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


class _Counting:
    """Mixin of a file that can be read a limited number of times."""

    _left = _MOST_READS

    def read(self, size: int | None = -1) -> bytes:
        """As the file's own; raises `ImageError` at the limit."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(
                f"{getattr(self, 'name', 'it')} has more pieces of metadata than any camera "
                "writes; save it again"
            )
        # A mixin: the class beside it in the bases has `read`.
        return super().read(size)  # type: ignore[misc, no-any-return]


class _File(_Counting, io.BufferedReader): ...


class _Bytes(_Counting, io.BytesIO): ...


def open_image(source: Path | bytes) -> ImageFile:
    """Open an image file, or its content, without decoding it.

    Raises:
        PIL.Image.DecompressionBombWarning: The image has more pixels than Pillow decodes safely.
        ImageError: Its metadata are in too many pieces.
    """
    from PIL import Image

    # Threads that change the filters of warnings at the same time would not restore them.
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.preinit()
        for plugin in _PLUGINS:
            with suppress(ImportError):  # of an older Pillow
                import_module(f"PIL.{plugin}")
        stream = _Bytes(source) if isinstance(source, bytes) else _File(io.FileIO(source))
        try:
            image = Image.open(stream, formats=[name for name in _DECODERS if name in Image.OPEN])
        except BaseException:
            stream.close()
            raise
        image._exclusive_fp = True  # closed with the image
        return image


def check_cost(image: ImageFile, path: Path) -> None:
    """Raise `ImageError` for an opened photo that costs more time or memory than any camera's.

    Each scan of a progressive JPEG visits all pixels; a real file has about ten.
    """
    from PIL.Image import DECODERS

    pixels = image.width * image.height
    if max(image.size) > _LONGEST_SIDE:
        raise ImageError(f"{path} has a side of {max(image.size):,} pixels; cut it into parts")
    if image.mode in ("I", "F") and pixels > _MOST_WIDE_PIXELS:
        raise ImageError(f"{path} is too large to decode safely; save it with 8 bits per channel")
    if pixels * _COPIES.get(image.format or "", 2) > _MOST_COPIED_PIXELS:
        raise ImageError(f"{path} is too large to decode safely; scale it down or save it as JPEG")
    slow = any(tile[0] in DECODERS for tile in image.tile)
    if slow and path.stat().st_size > _MOST_SLOW_BYTES:
        raise ImageError(f"{path} is of a kind that takes long to decode; save it as PNG")
    if image.format not in ("JPEG", "MPO") or not image.info.get("progressive"):
        return
    scans = path.read_bytes().count(_START_OF_SCAN)
    if scans * pixels > _MOST_VISITS:
        raise ImageError(
            f"{path} is a JPEG of {scans:,} scans, which no camera writes; save it again"
        )


@contextmanager
def taking_turns(pixels: int) -> Iterator[None]:
    """Context in which a thread may decode ``pixels`` pixels beside what other threads decode.

    It waits while the others have too many. A picture larger than all of that is decoded alone.
    """
    with _TURNS:
        _TURNS.wait_for(lambda: not _decoding or sum(_decoding) + pixels <= _PIXELS_AT_ONCE)
        _decoding.append(pixels)
    try:
        yield
    finally:
        with _TURNS:
            _decoding.remove(pixels)
            _TURNS.notify_all()


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
