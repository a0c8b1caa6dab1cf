"""Text of any origin -> cells of CSV files that a spreadsheet does not run as formulas, and back.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
for a formula (OWASP, "CSV Injection"). Class names and file names may begin so. In front of them
goes an apostrophe, the mark of text.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def cell(text: str) -> str:
    """``text`` as a cell: with an apostrophe in front if it would be a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(written: str) -> str:
    """The text that `cell` wrote."""
    quoted = written.startswith("'") and _FORMULA.match(written)
    return written[1:] if quoted else written
