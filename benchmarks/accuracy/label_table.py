"""Labels from a CSV with one label per file, several labels per file, or a column per class."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_effnet import csv_cells
from edge_effnet.benchmarks.accuracy.class_names import ClassFinder, listed
from edge_effnet.errors import UsageError, reason
from edge_effnet.files import missing

_YES, _NO = frozenset(["1", "1.0", "true", "yes"]), frozenset(["", "0", "0.0", "false", "no"])
_EITHER = _YES | _NO


#: Characters that may separate the cells of a line.
SEPARATORS = ",\t;"


@dataclass(frozen=True, slots=True)
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
    rows: dict[str, Row] = {}
    labels_of: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal labels share their memory
    splits: set[str] = set()
    with _reading(table):
        lines = csv_cells.read_rows(table, SEPARATORS)
        header = [_text(name).lower() for name in next(lines, [])]
        columns = _class_columns(table, header, classes)
        needed = ["file", *([] if columns else ["label"]), *([] if split is None else ["split"])]
        for column in needed:
            if column not in header:
                raise UsageError(
                    f"{table} has no column {column!r} (its first line is {','.join(header)!r}); "
                    "the header must be file,label or file,label,split"
                )
        positions = {name: position for position, name in enumerate(header)}
        used = {name: positions[name] for name in {*needed, *columns, *({"split"} & {*header})}}
        wanted = [column for column in needed if not (multi_label and column == "label")]
        for number, line in enumerate(lines, start=2):
            if not any(line) or not any(map(str.strip, line)):
                continue
            row = {name: _text(line[at]) for name, at in used.items() if at < len(line)}
            empty = [column for column in wanted if not row.get(column)]
            if empty:
                raise UsageError(f"{table}, line {number}: the column {empty[0]!r} is empty")
            if split is not None:
                splits.add(row["split"])
                if row["split"] != split:
                    continue
            name = row["file"]
            labels = _labels(f"{table}, line {number}", row, columns, multi_label)
            if name in rows:
                if not multi_label or columns:
                    raise UsageError(f"{table} lists {name} twice; remove a row")
                labels = (*rows[name].labels, *labels)
            labels = labels_of.setdefault(labels, labels)
            rows[name] = Row(name, labels, sys.intern(row.get("split", "")))
    if split is not None and not rows:
        raise UsageError(
            f"{table} has no photo in the split {split!r}; it has {listed(sorted(splits))}"
        )
    if not rows:
        raise UsageError(f"{table} lists no photo; add rows below its header")
    return list(rows.values())


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
        header = next(csv_cells.read_rows(table, SEPARATORS), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {"file", "label"} <= {_text(name).lower() for name in header}


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
        if value not in _EITHER:
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
    others = dict.fromkeys(name for name in header if name not in ("file", "split"))
    find = ClassFinder(classes)
    known = dict.fromkeys(name for name in others if find.is_name(name))
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


def _text(written: str) -> str:
    return csv_cells.text_of(written.strip())


@contextmanager
def _reading(table: Path) -> Iterator[None]:
    """Context in which an error of reading ``table`` becomes `UsageError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(missing(table)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the labels {table}: {reason(error)}") from error
