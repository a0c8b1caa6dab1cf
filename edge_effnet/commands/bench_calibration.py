"""``edge-effnet bench calibration-cost``: time and memory of quantizing networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import progress, write_json, write_table
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError


@click.command(
    "calibration-cost",
    cls=Command,
    examples=[
        "bench calibration-cost --calibration photos/ --variant b4",
        "bench calibration-cost --calibration photos/ --variant b7",
    ],
)
@option("--calibration", required=True)
@option("--variant", multiple=True, shown="lite0")
@option("--weights", default="random")
@option("--resolution", default=None, shown="the variant's own")
@json_option
def calibration_cost(
    calibration: str,
    variant: tuple[str, ...],
    weights: str,
    resolution: int | None,
    json_to: str | None,
) -> None:
    """Measure time and memory of quantizing networks.

    Each network is exported to int8 files of all formats in a process of its own. Memory
    does not depend on the weights and time hardly does, so random weights suffice.
    """
    from edge_effnet.benchmarks.suite import calibration_cost as suite

    names = variant or ("lite0",)
    if len(names) > 1 and weights not in ("random", "imagenet"):
        raise UsageError(f"--weights {weights} are of one variant: give one --variant")
    networks = [suite.Network(name, weights, resolution) for name in names]
    with progress() as report:
        measurements = suite.measure(networks, Path(calibration), report)
    if json_to != "-":
        write_table(lambda width: suite.table(measurements))
    if json_to:
        write_json([asdict(cost) for cost in measurements], json_to)
