"""``edge-effnet device`` and ``bundle``: description of a machine, and packing for a board."""

from __future__ import annotations

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import (
    host_options,
    json_option,
    model_files_argument,
    threads_option,
)
from edge_effnet.commands.terminal import write, write_json
from edge_effnet.commands.vocabulary import option


@click.command(cls=Command, examples=["device", "device --host ssh://pi@raspberrypi"])
@host_options
@json_option
def device(host: str | None, python: str, ssh_config: str | None, json_to: str | None) -> None:
    """Describe a machine, its runtimes and accelerators.

    Loads each runtime and tests each accelerator that it lists.
    """
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.device import describe, sheet
    from edge_effnet.benchmarks.remote.measure import describe_device

    description = (
        describe() if host is None else describe_device(ssh.parse(host, ssh_config), python)
    )
    if json_to != "-":
        write(sheet(description))
    if json_to:
        write_json(description, json_to)


@click.command(
    cls=Command,
    examples=[
        "bundle out/efficientnet-lite0-int8.tflite --board linux-aarch64",
        "bundle out/*int8* --board linux-aarch64 --with camera --out pi/",
    ],
)
@model_files_argument()
@option("--board", required=True)
@option("--with", multiple=True)
@option("--out", shown="edge-effnet-BOARD.tar.gz")
@threads_option()
@json_option
def bundle(
    files: tuple[str, ...],
    board: str,
    extras: tuple[str, ...],
    out: str | None,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Pack files with a launcher and packages for a board.

    The launcher's self-test compares the board's predictions with those of this machine. --out is
    a folder or a .tar.gz file.
    """
    from edge_effnet.apps.bundle.bundle import bundle as make_bundle

    target = out or f"edge-effnet-{board}.tar.gz"
    path = make_bundle(files, board, target, camera="camera" in extras, threads=threads)
    if json_to != "-":
        write(f"{path}\n")
    if json_to:
        content = {"bundle": str(path), "board": board, "with": list(extras), "files": list(files)}
        write_json(content, json_to)
