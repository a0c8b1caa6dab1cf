"""Provenance: the checkpoint that a file on disk was exported from, read without a runtime.

Every format stores the card's JSON as plain bytes, so the source is located by scanning the file.
"""

from __future__ import annotations

import html
import json
import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_effnet.card import Source
from edge_effnet.errors import UsageError
from edge_effnet.formats import FORMATS

_LONGEST = 1000  # longest value in bytes that the scan recognises


def _pattern(quote: bytes) -> re.Pattern[bytes]:
    """Regular expression for the value of ``source`` in a card's JSON, as files store the card.

    The value is ``null`` for weights without a checkpoint. Otherwise it is an object without
    spaces (compact JSON), whose keys file, kind and sha256 are in this order.

    Args:
        quote: The quotation mark as the file stores it.
    """
    value = quote + b":" + quote + b"(.{0,%d}?)" % _LONGEST + quote
    items = b",".join(quote + key + value for key in (b"file", b"kind", b"sha256"))
    return re.compile(rb"(?:null|\{" + items + rb"\})")


#: Key that precedes the source -> pattern of the source; .xml files escape the quotes.
_PATTERNS = {quote + b"source" + quote + b":": _pattern(quote) for quote in (b'"', b"&quot;")}
#: Formats that are folders.
_PACKAGES = (".mlpackage",)
#: Source of a file without a card; no checkpoint has this source.
UNKNOWN = Source("", "", "unknown")


def refuse_other_checkpoints(folder: Path, names: Iterable[str], source: Source | None) -> None:
    """Check that writing ``names`` into ``folder`` replaces no file of another checkpoint.

    Args:
        folder: Where files will be written; it need not exist.
        names: The names of the files.
        source: The checkpoint that is exported; None for weights without a checkpoint.

    Raises:
        UsageError: A file of this name holds weights of another checkpoint, or has no card.
    """
    for path in (folder / name for name in names):
        if not path.exists() or (path.is_dir() and path.suffix not in _PACKAGES):
            continue  # a folder of this name: writing the file fails later
        there = source_of(path)
        if _identity(there) == _identity(source):
            continue
        checkpoint = source.file if source and source.sha256 else ""
        theirs = "another network" if there is None else there.file or "another tool"
        name = re.sub(r"[^\w.-]+", "-", Path(checkpoint).stem).strip(".-_") or "NAME"
        raise UsageError(
            f"{path} is there already, made from {theirs}, not from {checkpoint or 'this network'}",
            hint=f"name the new files with name='{name}', choose another folder with out=, or "
            "replace them with overwrite=True",
        )


def source_of(path: Path) -> Source | None:
    """The source in the card of an exported file or package; `UNKNOWN` without a card."""
    for part in _parts(path):
        if not part.is_file() or not part.stat().st_size:
            continue
        with part.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            values = _values(data)
        if values:
            name, kind, sha256 = values
            return Source(kind, name, sha256) if kind else None
    return UNKNOWN


def _values(data: mmap.mmap) -> list[str]:
    """File, kind and sha256 of the card's source in ``data``.

    Three empty strings if the source is ``null``; an empty list if ``data`` has no card.
    """
    for start, pattern in _PATTERNS.items():
        position = data.find(start)
        while position >= 0:
            match = pattern.match(data, position + len(start))
            if match:
                return [_text(value or b"") for value in match.groups()]
            position = data.find(start, position + 1)
    return []


def _identity(source: Source | None) -> str | None:
    """Identity of a checkpoint: its digest, or the name of built-in weights."""
    return None if source is None else source.sha256 or source.file


def _parts(path: Path) -> Iterator[Path]:
    """The files that may hold the card: one file, or all files of a package or of its format."""
    if path.is_dir():
        yield from sorted(part for part in path.rglob("*") if part.is_file())
        return
    for suffixes in (each.suffixes for each in FORMATS.values()):
        if path.name.endswith(suffixes[0]):
            stem = str(path).removesuffix(suffixes[0])
            yield from (part for part in (Path(stem + each) for each in suffixes) if part.is_file())


def _text(value: bytes) -> str:
    text = html.unescape(value.decode("utf-8", "replace"))
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
