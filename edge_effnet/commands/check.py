"""``edge-effnet check``: which operators of a file run on a target."""

from __future__ import annotations

import click

from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import write, write_json
from edge_effnet.errors import ModelFileError


@click.command()
@click.argument("file")
@click.option(
    "--target",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="cpu, edgetpu, ethos-u, or one of vela's: ethos-u55-128, ethos-u85-256, ...",
)
@json_option
def check(file: str, target: str, json_to: str | None) -> None:
    """Say which operators of FILE run on a target, and why others do not.

    cpu: the kernels of this machine's runtime. edgetpu: Coral's published rules. ethos-u: Arm's
    compiler vela. Ends with exit code 2 if an operator stays off the accelerator.
    """
    from edge_effnet.benchmarks.operator_support.check import check as check_file

    found = check_file(file, target)
    if json_to != "-":
        write(found.sheet() + "\n")
    if json_to:
        write_json(found.as_json(), json_to)
    if found.elsewhere:
        raise ModelFileError(
            f"{len(found.elsewhere)} of {len(found.operators)} operators of {file} would run on "
            f"the CPU, not the {found.accelerator}; export int8 files with --io uint8 or int8"
        )
