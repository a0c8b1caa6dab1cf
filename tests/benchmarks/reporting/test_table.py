"""The table of a comparison in a terminal."""

from __future__ import annotations

from dataclasses import replace

from edge_effnet.benchmarks.reporting import table
from support.result_records import WHOLE


def test_the_table_fits_a_terminal_of_80() -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table.render(WHOLE, width=80))
    text = console.export_text()
    for figure in ("88.5", "97.0", "99.1", "98.3–99.5", "0.5", "−0.3…1.3", "22.2", "2.00", "2.10"):  # noqa: RUF001
        assert figure in text


def test_a_table_too_wide_omits_columns_and_cuts_no_cell() -> None:
    from rich.console import Console

    records = tuple(
        replace(record, drop_ci=(-10.4, 15.7), sqnr_db=119.3, peak_rss_mb=180.4)
        for record in WHOLE.records
    )
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table.render(replace(WHOLE, records=records), width=80))
    text = console.export_text()
    assert "−10.4…15.7" in text  # noqa: RUF001
    assert "p99" not in text
    assert ("180" in text) == ("peak" in text)
    assert max(map(len, text.splitlines())) <= 80
