"""Cells of CSV files: no formula for a spreadsheet, and the same text when read again."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet import csv_cells
from edge_effnet.csv_cells import cell, read_rows, rows_of, text_of


@given(st.text(st.sampled_from("'=+-@\t\r\n\"a, ")) | st.text())
def test_no_formula_and_back(text: str) -> None:
    written = cell(text)
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert text_of(written) == text


@pytest.mark.parametrize("name", ["=HYPERLINK(A1)", "+1", "-x.jpg", "@SUM(1)", "'=1", "'twas", "a"])
def test_training_rows_survive(name: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([cell(name)])
    ((read,),) = csv.reader(io.StringIO(stream.getvalue()))
    assert text_of(read) == name


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=4)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5))
def test_rows_are_those_of_the_standard_library(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    text.seek(0)
    expected = list(csv.reader(text))
    text.seek(0)
    assert list(rows_of(text, ",")) == expected


@pytest.mark.parametrize(("first", "separator"), [("a,b;c", ","), ("a\tb;c", "\t"), ("a;b", ";")])
def test_separators(tmp_path: Path, first: str, separator: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"\ufeff{first}\n")
    assert list(read_rows(path, ",\t;")) == [first.split(separator)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n" * (csv_cells.MOST_LINES + 1), "more than 1,048,576 lines"),
        ("\n" * (csv_cells.MOST_LINES + 1), "more than 1,048,576 lines"),
        ("a," * (csv_cells.MOST_COLUMNS + 1), "more than 32,768 columns in line 1"),
        (("a," * 1000 + "\n") * 17_000, "more than 16,777,216 cells"),
        ("a\n" + "b," * (1 << 20), "line 2 begins a row without an end"),
        ('a\n"x\n' + '","\n' * 200, "line 2 begins a row without an end"),
    ],
)
def test_limits(text: str, message: str) -> None:
    with pytest.raises(csv.Error, match=message):
        for _ in rows_of(io.StringIO(text), ","):
            pass


def test_large_and_special_files(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(csv_cells.MOST_BYTES + 1)
    with pytest.raises(csv.Error, match="more than 64 MB"):
        next(read_rows(path))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match="a named pipe"):
        next(read_rows(tmp_path / "pipe.csv"))
