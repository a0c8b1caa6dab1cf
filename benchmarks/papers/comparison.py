"""Comparison of computed and published values: cells, rows, tables, and their text output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNITS = {"M": 1e6, "B": 1e9, "x": 1.0}
_NEAR = 0.01


@dataclass(frozen=True)
class Cell:
    """One value: ``computed`` in parameters or multiply-adds, or as text.

    ``published`` is printed with its unit (``0.39B``, ``5.3M``, ``4.9x``); it is empty if the paper
    has no value. ``note`` is the cause of a difference.
    """

    computed: float | str
    published: str
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the computed value, rounded to the published digits, equals the published one."""
        if isinstance(self.computed, str):
            return self.computed == self.published
        value, unit, decimals = parse(self.published)
        return abs(self.computed / unit - value) <= 0.5 * 10.0**-decimals * (1 + 1e-9)

    @property
    def near(self) -> bool:
        """Whether the values agree or differ by at most 1 %."""
        if self.agrees or isinstance(self.computed, str):
            return self.agrees
        value, unit, _ = parse(self.published)
        return abs(self.computed / unit - value) <= _NEAR * value

    @property
    def shown(self) -> str:
        """The computed value in the published unit, with one more digit."""
        if isinstance(self.computed, str):
            return self.computed
        _, unit, decimals = parse(self.published)
        return f"{self.computed / unit:.{decimals + 1}f}"

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``tables --json``."""
        return {
            "computed": self.computed,
            "published": self.published,
            "agrees": self.agrees,
            "within_1_percent": self.near,
            "note": self.note or None,
        }


@dataclass(frozen=True)
class Row:
    """A row of a table; a cell is None if the paper has no value."""

    name: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """A published table: ``key`` is its short name, ``source`` the publication."""

    key: str
    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def cells(self) -> Iterator[Cell]:
        """All values, row by row."""
        return (cell for row in self.rows for cell in row.cells if cell is not None)

    def as_json(self) -> dict[str, Any]:
        """The table as plain data."""
        return {
            "table": self.key,
            "title": self.title,
            "source": self.source,
            "rows": [
                {
                    "name": row.name,
                    "figures": {
                        column: cell and cell.as_json()
                        for column, cell in zip(self.columns, row.cells, strict=True)
                    },
                }
                for row in self.rows
            ],
        }


def parse(published: str) -> tuple[float, float, int]:
    """Number, unit and number of decimals of a published value: 0.39B -> (0.39, 1e9, 2)."""
    number = published.rstrip("".join(_UNITS))
    return float(number), _UNITS.get(published[len(number) :], 1.0), len(number.partition(".")[2])


def render(tables: Sequence[Table]) -> RenderableType:
    """Text tables whose cells read ``computed / published``, with footnotes on differences."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for table in tables:
        notes: list[str] = []
        body = _body(table, notes)
        cells = [cell for cell in table.cells() if cell.published]
        same, near = sum(cell.agrees for cell in cells), sum(cell.near for cell in cells)
        parts += [Text(f"{table.title}\n{table.source}"), body]
        parts += [Text(f"[{number}] {note}") for number, note in enumerate(notes, 1)]
        others = f", {near - same} more within 1 %" if near > same else ""
        parts.append(Text(f"{same} of {len(cells)} figures as published{others}\n"))
    parts.append(Text("computed / published; FLOPs are multiply-adds, as in the papers"))
    return Group(*parts)


def _body(table: Table, notes: list[str]) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    rich_table.add_column("", no_wrap=True)
    for column in table.columns:
        rich_table.add_column(column)
    for row in table.rows:
        rich_table.add_row(row.name, *(Text(_text(cell, notes)) for cell in row.cells))
    return rich_table


def _text(cell: Cell | None, notes: list[str]) -> str:
    if cell is None:
        return ""
    if isinstance(cell.computed, str) and (cell.agrees or not cell.published):
        text = cell.computed
    else:
        text = f"{cell.shown} / {cell.published}"
    if (cell.agrees and cell.published) or not (cell.note or cell.published):
        return text
    if cell.note not in notes:
        notes.append(cell.note)
    return f"{text} [{notes.index(cell.note) + 1}]"
