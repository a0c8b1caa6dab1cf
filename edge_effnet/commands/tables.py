"""``edge-effnet tables``: computed and published values of the papers' tables."""

from __future__ import annotations

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import progress, write_json, write_table
from edge_effnet.errors import UsageError


@click.command(cls=Command, examples=["tables", "tables v1-2 v2-7 --json tables.json"])
@click.argument("names", nargs=-1, metavar="[TABLE]...")
@json_option
def tables(names: tuple[str, ...], json_to: str | None) -> None:
    """Compute the papers' tables beside the printed values.

    TABLE is v1-1, v1-2, v1-3, v1-7 (EfficientNet paper), v2-4 or v2-7 (EfficientNetV2 paper).
    Without TABLE, all are shown.
    """
    from edge_effnet.benchmarks.papers.comparison import render
    from edge_effnet.benchmarks.papers.tables import TABLES

    for name in names:
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}; known are {', '.join(TABLES)}")
    chosen = names or tuple(TABLES)
    comparisons = []
    with progress() as report:
        for done, name in enumerate(chosen, 1):
            comparisons.append(TABLES[name]())
            report("compute tables", done, len(chosen))
    if json_to != "-":
        write_table(lambda width: render(comparisons, width))
    if json_to:
        write_json([table.as_json() for table in comparisons], json_to)
