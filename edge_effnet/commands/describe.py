"""``edge-effnet list`` and ``info``: the variants; one variant, file or checkpoint in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_effnet.commands.checkpoint import CheckpointOptions, checkpoint_options, is_path
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import (
    write,
    write_json,
    write_table,
)
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.variants import Variant


@click.command("list", cls=Command, examples=["list", "list --json variants.json"])
@option("--baselines")
@json_option
def list_variants(baselines: bool, json_to: str | None) -> None:
    """List the variants with their size and cost."""
    from edge_effnet.baselines import BASELINES
    from edge_effnet.describe import describe, table
    from edge_effnet.variants import VARIANTS

    rows = [describe(variant) for variant in (BASELINES if baselines else VARIANTS).values()]
    if json_to != "-":
        write_table(lambda width: table(rows, width))
    if json_to:
        write_json([row.as_json() for row in rows], json_to)


@click.command(
    cls=Command,
    examples=["info lite0 --resolution 192", "info mine.pth --json -"],
)
@click.argument("variant", metavar="VARIANT|CHECKPOINT|FILE")
@option("--phi", section="Scaling a variant")
@option("--depth", section="Scaling a variant")
@option("--width", section="Scaling a variant")
@checkpoint_options
@json_option
def info(
    variant: str,
    checkpoint: CheckpointOptions,
    phi: float | None,
    depth: float | None,
    width: float | None,
    json_to: str | None,
) -> None:
    """Describe a variant, a checkpoint or an exported file.

    A variant can be scaled by --phi, or by --depth, --width and --resolution. A checkpoint is read
    as by 'export', with the same options. For an exported file, its model card is shown.
    """
    from edge_effnet import describe

    if is_path(variant):
        if (phi, depth, width) != (None, None, None):
            raise UsageError("--phi, --depth and --width scale a variant, not a file")
        if _exported(variant):
            content = describe.describe_file(variant)
            text = describe.file_sheet(content)
        else:
            content = describe.describe_checkpoint(checkpoint.load("auto", variant))
            text = describe.checkpoint_sheet(variant, content)
    else:
        from edge_effnet.registry import get_variant

        chosen = _scaled(get_variant(variant), phi, depth, width)
        row = describe.describe(chosen, checkpoint.resolution)
        content, text = row.as_json(), describe.sheet(row)
    if json_to:
        write_json(content, json_to)
    if json_to != "-":
        write(text + "\n")


def _exported(path: str) -> bool:
    from edge_effnet.formats import format_of

    return format_of(path) is not None


def _scaled(
    variant: Variant, phi: float | None, depth: float | None, width: float | None
) -> Variant:
    from edge_effnet.scaling import compound, scale

    if phi is not None:
        variant = compound(variant, phi)
    if depth is not None or width is not None:
        variant = scale(
            variant,
            depth=1.0 if depth is None else depth,
            width=1.0 if width is None else width,
        )
    return variant
