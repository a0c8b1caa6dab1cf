"""``edge-effnet check``: which operators of a file run on a target."""

from __future__ import annotations

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option, pairs
from edge_effnet.commands.terminal import finding, write, write_json
from edge_effnet.commands.vocabulary import option


@click.command(
    cls=Command,
    examples=[
        "check out/efficientnet-lite0-int8.tflite --target edgetpu",
        "check out/efficientnet-lite0-int8.tflite --target ethos-u55-128",
    ],
)
@click.argument("file")
@option("--target", default="cpu")
@option("--device-option", multiple=True)
@json_option
def check(file: str, target: str, driver: tuple[str, ...], json_to: str | None) -> None:
    """Show which operators run on an accelerator.

    The targets have different sources: for cpu the kernels of this machine's runtime, for edgetpu
    Coral's published rules, for ethos-u Arm's compiler vela, for qnn Qualcomm's execution provider,
    for imx500 the memory report of Sony's converter.
    Exit code 1 if an operator of FILE does not run on the accelerator.
    """
    from edge_effnet.benchmarks.operator_support.check import check as check_file

    support = check_file(file, target, pairs(driver))
    if json_to != "-":
        write(support.sheet() + "\n")
    if json_to:
        write_json(support.as_json(), json_to)
    if support.elsewhere:
        text = (
            f"{len(support.elsewhere)} of {len(support.operators)} operators of {file} would run "
            f"on the CPU, not the {support.accelerator}"
        )
        advice = "" if support.has_integer_input else "; export int8 files with --io uint8 or int8"
        finding(text + advice)
