"""Rows of CSV files of any origin, and texts as cells that a spreadsheet does not run.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
for a formula (OWASP, "CSV Injection"). Class names and file names may begin so. In front of them
goes an apostrophe, the mark of text.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator

from edge_effnet import reading

#: Limits of a file. The number of lines is a spreadsheet's.
MOST_BYTES, MOST_LINES, MOST_COLUMNS, MOST_CELLS = 64 << 20, 1 << 20, 1 << 15, 1 << 24
_LONGEST_LINE = 1 << 20
_MOST_LINES_OF_ROW = 100  # quoted cells may have line feeds
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def cell(text: str) -> str:
    """``text`` as a cell: with an apostrophe in front if it would be a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(written: str) -> str:
    """The text that `cell` wrote."""
    quoted = written.startswith("'") and _FORMULA.match(written)
    return written[1:] if quoted else written


def read_rows(path: str | os.PathLike[str], separators: str = ",") -> Iterator[list[str]]:
    """The rows of the regular file ``path`` as lists of cells, one after the other.

    Args:
        path: The CSV file, in UTF-8.
        separators: Characters that may separate cells. The first one that the first line has does;
            without any, the first of them.

    Raises:
        OSError: The file cannot be read.
        UnicodeDecodeError: It is not UTF-8.
        csv.Error: It is no CSV, or is beyond a limit.
    """
    if reading.check_regular(path) > MOST_BYTES:
        raise csv.Error(f"more than {MOST_BYTES >> 20} MB")
    with open(path, encoding="utf-8-sig", newline="") as stream:
        first = stream.readline(_LONGEST_LINE)
        stream.seek(0)
        separator = next((each for each in separators if each in first), separators[0])
        yield from rows_of(iter(lambda: stream.readline(_LONGEST_LINE + 1), ""), separator)


def rows_of(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """The rows of the text ``lines``, within the limits of `read_rows`.

    Raises:
        csv.Error: The text is no CSV, or is beyond a limit.
    """
    before = cells = 0  # of the rows so far: lines and cells
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for line in lines:
            count += 1
            if count > MOST_LINES:
                raise csv.Error(f"more than {MOST_LINES:,} lines")
            if len(line) > _LONGEST_LINE or count - before > _MOST_LINES_OF_ROW:
                raise csv.Error(f"line {before + 1:,} begins a row without an end")
            yield line

    for row in csv.reader(counted(), delimiter=separator):
        if len(row) > MOST_COLUMNS:
            raise csv.Error(f"more than {MOST_COLUMNS:,} columns in line {before + 1:,}")
        cells += len(row)
        if cells > MOST_CELLS:
            raise csv.Error(f"more than {MOST_CELLS:,} cells")
        before = count
        yield row
