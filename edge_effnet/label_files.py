"""Class names from text, CSV and JSON files as written by common training libraries."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_effnet import csv_cells, json_text, reading
from edge_effnet.errors import UsageError, reason

#: A larger file cannot be a list of class names.
MOST_BYTES = 16 << 20
#: An index before a name: ``3: tulip``, ``3<tab>tulip``, ``3. tulip``, ``3 tulip``. A single space
#: is only weak evidence of an index.
_NUMBERED = re.compile(r"([0-9]{1,6})(\s*[:;,=\t]\s*|[.)]\s+|\s+)(\S.*)")
#: Header names of CSV columns, in order of preference.
_NAME_COLUMNS = ("name", "class_name", "label_name", "class", "label", "category", "display_name")
_INDEX_COLUMNS = ("index", "id", "idx", "class_index", "class_id", "label_id", "label", "class", "")
#: JSON keys with class names: of transformers, timm, Keras, ultralytics.
_JSON_KEYS = (
    "id2label",
    "label_names",
    "class_indices",
    "label2id",
    "class_names",
    "classes",
    "labels",
    "names",
)


@dataclass(frozen=True)
class LabelFile:
    """Class names in index order, and a note on assumptions about the file."""

    names: tuple[str, ...]
    note: str | None = None


def name_key(name: str) -> str:
    """Key for comparing names; equal for names that differ only in spelling details.

    The key ignores case, the Unicode normalisation of accents (NFC, NFD), and underscores for
    spaces.
    """
    tokens = unicodedata.normalize("NFC", name).replace("_", " ").split()
    return unicodedata.normalize("NFC", " ".join(tokens).casefold())


def exact_key(name: str) -> str:
    """Key for comparing names; it ignores only the Unicode normalisation of accents."""
    return unicodedata.normalize("NFC", name).strip()


def repeated_names(names: Sequence[str]) -> dict[str, list[int]]:
    """Repeated name -> indices of its classes; case-sensitive (Cardigan, cardigan differ)."""
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        indices.setdefault(exact_key(name), []).append(index)
    return {names[same[0]]: same for same in indices.values() if len(same) > 1}


def read_label_file(path: str | os.PathLike[str]) -> LabelFile:
    """Class names in index order from a file.

    A text file has one name per line, or lines ``index name`` in any order. A CSV has a column of
    names and optionally a column of indices. JSON is a list, ``{index: name}``, ``{name: index}``,
    or a configuration with one of these under ``id2label``, ``label_names`` or ``class_indices``.
    For a folder, the names are those of its subfolders in string order. torchvision's ImageFolder
    and Keras's image_dataset_from_directory use the same order.

    Raises:
        UsageError: The file is missing, empty, ambiguous, neither UTF-8 nor UTF-16, or an index is
            missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    folders = _from_folder(path) if path.is_dir() else ()
    text = "" if folders else _text(path)
    if folders:
        label_file = LabelFile(
            folders,
            f"the classes are the folders of {path} in string order: class 0 is {folders[0]!r}",
        )
    elif suffix == ".json":
        label_file = LabelFile(_from_json(text, path))
    elif suffix in (".csv", ".tsv"):
        label_file = LabelFile(_from_csv(text, path, "\t" if suffix == ".tsv" else ","))
    else:
        label_file = _from_lines(text, path)
    if not label_file.names or not all(name.strip() for name in label_file.names):
        raise UsageError(
            f"the labels {path} are empty or have an empty line; give one name a class"
        )
    for index, name in enumerate(label_file.names):
        control = next((c for c in name if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
        if control is not None:
            raise UsageError(
                f"the labels {path}: the name of class {index} holds the control character "
                f"U+{ord(control):04X}; remove it"
            )
    return label_file


def _from_folder(path: Path) -> tuple[str, ...]:
    try:
        names = [each.name for each in path.iterdir() if each.is_dir()]
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be read: {error.strerror}") from error
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _text(path: Path) -> str:
    try:
        reading.check_regular(path)
        with open(path, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UsageError(f"the labels {path} have more than {MOST_BYTES >> 20} MB")
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the labels {path}: {reason(error)}; give a UTF-8 .txt or .json"
        ) from error


def _from_lines(text: str, path: Path) -> LabelFile:
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if not lines or not all(numbered):
        return LabelFile(tuple(" ".join(line.split("\t")) for line in lines))
    parts = [match.groups() for match in numbered if match]
    indices, names = [int(index) for index, _, _ in parts], [name for _, _, name in parts]
    written = tuple(lines)
    start, weak = min(indices), any(not separator.strip(" ") for _, separator, _ in parts)
    if repeated_names(names) or start > 1:  # "1 dot, 2 dots", "10 cents, 20 cents"
        return LabelFile(written)
    if sorted(indices) != list(range(start, start + len(lines))):
        if weak:
            return LabelFile(written)
        raise UsageError(
            f"the labels {path} number their lines, but not as {start} to "
            f"{start + len(lines) - 1}, each once; give one name a line in index order"
        )
    if start == 1 and weak:
        if indices == sorted(indices):
            return LabelFile(written)
        raise UsageError(
            f"the labels {path} have lines such as {lines[0]!r} in no order: is the number part of "
            "the name or the class? Give one name a line in index order, or a JSON {name: index}"
        )
    ordered = tuple(name for _, name in sorted(zip(indices, names, strict=True)))
    return LabelFile(
        ordered, f"the lines of {path.name} are read as index and name: class 0 is {ordered[0]!r}"
    )


def _from_csv(text: str, path: Path, separator: str) -> tuple[str, ...]:
    try:
        rows = [row for row in csv_cells.rows_of(io.StringIO(text), separator) if any(row)]
    except csv.Error as error:
        raise UsageError(f"the labels {path} are no CSV: {error}") from error
    rows = [[csv_cells.text_of(cell.strip()) for cell in row] for row in rows]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if "file" in header or "filename" in header:
        raise UsageError(
            f"{path} lists photos, not the names of the classes; give a file with one name a class"
        )
    name_at = next((header.index(name) for name in _NAME_COLUMNS if name in header), None)
    if name_at is not None:
        body = rows[1:]
        candidates = [header.index(name) for name in _INDEX_COLUMNS if name in header]
    else:
        body, candidates = rows, list(range(len(header)))
        name_at = 0 if len(header) == 1 else None
    if any(len(row) != len(header) for row in body):
        raise UsageError(
            f"the rows of {path} have different numbers of columns; quote names that hold the "
            "separator"
        )
    count = len(body)
    index_at = next(
        (at for at in candidates if at != name_at and _complete([row[at] for row in body], count)),
        None,
    )
    if name_at is None and index_at is not None and len(header) == 2:
        name_at = 1 - index_at
    if name_at is None or (index_at is None and len(header) > 1):
        raise UsageError(
            f"the columns of {path} are ambiguous; give the header index,name with the "
            f"indices 0 to {max(count - 1, 0)}"
        )
    if index_at is not None:
        body = sorted(body, key=lambda row: int(row[index_at]))
    return tuple(row[name_at] for row in body)


def _complete(values: Sequence[Any], count: int) -> bool:
    """Whether ``values`` are the indices 0 to ``count - 1`` in any order, as text or numbers."""
    texts = [str(value) for value in values]
    if len(set(texts)) < count or not all(re.fullmatch(r"[0-9]{1,6}", text) for text in texts):
        return False
    return sorted(map(int, texts)) == list(range(count))


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        content = json_text.parse(text, pairs=_without_repetition)
        for key in _JSON_KEYS:
            if isinstance(content, dict) and isinstance(content.get(key), (dict, list)):
                content = content[key]
        return _names(content)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"the labels {path} cannot be used ({error}); give a list of names, {{index: name}} or "
            "{name: index}"
        ) from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (repeated, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{repeated!r} stands there twice")
    return content


def _names(content: Any) -> tuple[str, ...]:
    """Class names in index order, from a list, name-to-index or index-to-name mapping.

    A mapping may fit both forms, for example with numbers as names. Its values are then the indices
    if they are integers; otherwise its keys are the indices.
    """
    if isinstance(content, dict):
        keys, values = list(content), list(content.values())
        integers = all(isinstance(value, int) for value in values)
        if _complete(values, len(keys)) and (integers or not _complete(keys, len(keys))):
            return tuple(sorted(keys, key=lambda key: int(content[key])))
        if not _complete(keys, len(keys)):
            raise ValueError(f"its indices are not 0 to {len(keys) - 1}, each once")
        content = [content[str(index)] for index in range(len(content))]
    if isinstance(content, list):
        names = [_name(value) for value in content]
        if all(name is not None for name in names):
            return tuple(str(name) for name in names)
    raise ValueError("neither a list of names nor an object {index: name} or {name: index}")


def _name(value: Any) -> str | None:
    """A class name: a string, an integer, or the name in [WordNet id, name]; None for others."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = value[-1]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value).strip()
