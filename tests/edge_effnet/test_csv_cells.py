"""Cells of CSV files: no formula for a spreadsheet, and the same text when read again."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.csv_cells import cell, text_of


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
