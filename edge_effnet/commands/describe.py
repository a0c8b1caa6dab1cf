"""``edge-effnet list`` and ``info``: what there is, and what a file says of itself."""

from __future__ import annotations

import os

import click

from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import (
    write,
    write_json,
    write_table,
)


@click.command("list")
@json_option
def list_variants(json_to: str | None) -> None:
    """List the variants with their size and cost."""
    from edge_effnet.describe import describe, table
    from edge_effnet.variants import VARIANTS

    rows = [describe(variant) for variant in VARIANTS.values()]
    if json_to != "-":
        write_table(lambda width: table(rows, width))
    if json_to:
        write_json([row.as_json() for row in rows], json_to)


@click.command()
@click.argument("variant", metavar="VARIANT|FILE")
@click.option("--resolution", type=int, help="Input side in pixels instead of the variant's own.")
@json_option
def info(variant: str, resolution: int | None, json_to: str | None) -> None:
    """Describe one VARIANT, or one exported FILE by its card."""
    from edge_effnet.describe import describe, describe_file, file_sheet, sheet

    if os.path.exists(variant) or os.path.splitext(variant)[1]:
        content = describe_file(variant)
        text = file_sheet(content)
    else:
        from edge_effnet.variants import get

        row = describe(get(variant), resolution)
        content, text = row.as_json(), sheet(row)
    if json_to:
        write_json(content, json_to)
    if json_to != "-":
        write(text + "\n")
