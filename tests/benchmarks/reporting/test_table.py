"""The table of a comparison in a terminal."""

from __future__ import annotations

from edge_effnet.benchmarks.reporting import table
from support.result_records import WHOLE


def test_the_table_fits_a_terminal_of_80() -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table.render(WHOLE, width=80))
    text = console.export_text()
    for figure in ("88.5", "97.0", "99.1", "98.3–99.5", "0.5", "−0.3…1.3", "22.2", "2.00", "2.10"):  # noqa: RUF001
        assert figure in text
