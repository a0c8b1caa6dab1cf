"""``edge-effnet device`` and ``bundle``: what a machine is, and exported files ready for it."""

from __future__ import annotations

import click

from edge_effnet.commands.options import device_options, json_option, model_files_argument
from edge_effnet.commands.terminal import write, write_json


@click.command()
@device_options
@json_option
def device(device_name: str, python: str, ssh_config: str | None, json_to: str | None) -> None:
    """Say what a machine is, and which runtimes and accelerators really run there."""
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.device import describe, sheet
    from edge_effnet.benchmarks.remote.measure import describe_device

    if device_name == "local":
        found = describe()
    else:
        found = describe_device(ssh.parse(device_name, ssh_config), python)
    if json_to != "-":
        write(sheet(found))
    if json_to:
        write_json(found, json_to)


@click.command()
@model_files_argument()
@click.option("--board", required=True, help="linux-aarch64, linux-armv7l or linux-x86_64.")
@click.option(
    "--with",
    "extras",
    multiple=True,
    type=click.Choice(["camera"]),
    help="Add the camera: OpenCV without windows, and the page.",
)
@click.option("--out", metavar="DIR|FILE.tar.gz", help="Default: edge-effnet-BOARD.tar.gz.")
@click.option("--threads", type=click.IntRange(1), help="Of the run here. Default: one per core.")
@json_option
def bundle(
    files: tuple[str, ...],
    board: str,
    extras: tuple[str, ...],
    out: str | None,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Pack FILES with a launcher, pinned packages and a self-test for a board."""
    from edge_effnet.apps.bundle.bundle import bundle as make_bundle

    target = out or f"edge-effnet-{board}.tar.gz"
    path = make_bundle(files, board, target, camera="camera" in extras, threads=threads)
    if json_to != "-":
        write(f"{path}\n")
    if json_to:
        content = {"bundle": str(path), "board": board, "with": list(extras), "files": list(files)}
        write_json(content, json_to)
