"""Labels from a CSV with one label per file, several labels per file, or a column per class."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_effnet import csv_cells, reading
from edge_effnet.benchmarks.accuracy.class_names import ClassFinder, listed
from edge_effnet.errors import UsageError, reason

_YES, _NO = frozenset(["1", "1.0", "true", "yes"]), frozenset(["", "0", "0.0", "false", "no"])


@dataclass(frozen=True)
class Row:
    """A file name and its labels as written in the CSV; single-label photos have one label.

    ``split`` is empty without a column of this name.
    """

    file: str
    labels: tuple[str, ...]
    split: str = ""


def read_label_table(
    table: Path, classes: Sequence[str], split: str | None = None, multi_label: bool = False
) -> list[Row]:
    """The rows of a CSV with the columns ``file``, ``label`` and, optionally, ``split``.

    Instead of ``label`` there may be one column per class, with 1 in the photo's classes. For a
    multi-label network ``label`` may be empty or hold several labels separated by semicolons. A
    file may then have several rows.

    Args:
        table: The CSV.
        classes: Names of the model's classes.
        split: Rows of this split only.
        multi_label: Whether any number of labels may apply to a photo.

    Raises:
        UsageError: The CSV cannot be used, or has no photo of the split.
    """
    header, lines = _lines(table)
    columns = _class_columns(table, header, classes)
    needed = ["file", *([] if columns else ["label"]), *([] if split is None else ["split"])]
    for column in needed:
        if column not in header:
            raise UsageError(
                f"{table} has no column {column!r} (its first line is {','.join(header)!r}); the "
                "header must be file,label or file,label,split"
            )
    cells = []
    for number, line in lines:
        row = dict(zip(header, line, strict=False))
        wanted = [column for column in needed if not (multi_label and column == "label")]
        empty = [column for column in wanted if not row.get(column)]
        if empty:
            raise UsageError(f"{table}, line {number}: the column {empty[0]!r} is empty")
        cells.append((number, row))
    if split is not None:
        splits = sorted({row["split"] for _, row in cells})
        cells = [(number, row) for number, row in cells if row["split"] == split]
        if not cells:
            raise UsageError(
                f"{table} has no photo in the split {split!r}; it has {listed(splits)}"
            )
    if not cells:
        raise UsageError(f"{table} lists no photo")
    labels_of: dict[str, tuple[str, ...]] = {}
    split_of: dict[str, str] = {}
    for number, row in cells:
        name = row["file"]
        labels = _labels(f"{table}, line {number}", row, columns, multi_label)
        if name in labels_of and (not multi_label or columns):
            raise UsageError(f"{table} lists {name} twice")
        labels_of[name] = (*labels_of.get(name, ()), *labels)
        split_of[name] = row.get("split", "")
    return [Row(name, labels, split_of[name]) for name, labels in labels_of.items()]


def find_label_table(folder: Path) -> Path | None:
    """The only CSV in or beside ``folder`` whose header has ``file`` and ``label``, if any."""
    tables = []
    for place in (folder, folder.resolve().parent):
        try:
            tables += [path for path in sorted(place.glob("*.csv")) if _has_labels(path)]
        except OSError:
            continue
    return tables[0] if len(tables) == 1 else None


def _has_labels(table: Path) -> bool:
    try:
        return {"file", "label"} <= set(_lines(table)[0])
    except UsageError:
        return False


def _labels(
    place: str, row: dict[str, str], columns: Sequence[str], multi_label: bool
) -> tuple[str, ...]:
    if not columns:
        text = row.get("label", "")
        if not multi_label:
            return (text,)
        return tuple(label.strip() for label in text.split(";") if label.strip())
    labels = []
    for column in columns:
        value = row.get(column, "").lower()
        if value not in _YES | _NO:
            raise UsageError(f"{place}: {value!r} in the column {column!r} is neither 1 nor 0")
        if value in _YES:
            labels.append(column)
    if not multi_label and len(labels) != 1:
        raise UsageError(
            f"{place}: {len(labels)} classes are 1 ({listed(labels)}), and the model predicts one"
        )
    return tuple(labels)


def _class_columns(table: Path, header: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Columns named by classes, all or none; `UsageError` if only some. Empty with ``label``."""
    if "label" in header or "file" not in header:
        return ()
    others = [name for name in header if name not in ("file", "split")]
    find = ClassFinder(classes)
    known = [name for name in others if find.is_name(name)]
    if not known:
        return ()
    strangers = [name for name in others if name not in known]
    indices = {find(name, str(table)) for name in known}
    missing = [name for index, name in enumerate(classes) if index not in indices]
    if strangers or missing:
        parts = [f"{listed(strangers)} are no classes"] if strangers else []
        parts += [f"{listed(missing)} are missing"] if missing else []
        raise UsageError(
            f"the columns of {table} are not the model's {len(classes)} classes: "
            f"{', and '.join(parts)}"
        )
    return tuple(known)


def _lines(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header in lower case, and (line number, cells) of each non-empty line.

    Cells are separated by commas. If the header has no comma, they are separated by tabs or
    semicolons.
    """
    try:
        reading.check_regular(table)
        with open(table, encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = next((each for each in ",\t;" if each in first), ",")
            reader = csv.reader(stream, delimiter=separator)
            lines = [[csv_cells.text_of(cell.strip()) for cell in line] for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the labels {table}: {reason(error)}") from error
    header = [name.lower() for name in lines[0]] if lines else []
    body = [(number, line) for number, line in enumerate(lines[1:], start=2) if any(line)]
    return header, body
