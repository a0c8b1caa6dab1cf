"""``edge-effnet fit``: a new network of the family that fills a budget of time."""

from __future__ import annotations

import click

from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import note, write, write_json


@click.command()
@click.option("--budget-ms", type=float, required=True, metavar="MS")
@click.option("--profile", "path", required=True, metavar="FILE", help="Of 'edge-effnet profile'.")
@click.option("--base", default="b0", show_default=True, metavar="VARIANT", help="What is scaled.")
@click.option(
    "--knob",
    type=click.Choice(["phi", "depth", "width", "resolution"]),
    default="phi",
    show_default=True,
    help="What is turned: all three in compound, or one.",
)
@click.option("--format", "format_name", default="tflite", show_default=True)
@click.option("--precision", default="int8", show_default=True)
@json_option
def fit(
    budget_ms: float,
    path: str,
    base: str,
    knob: str,
    format_name: str,
    precision: str,
    json_to: str | None,
) -> None:
    """Scale BASE until its predicted latency fills the budget on the device of a profile."""
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.benchmarks.prediction.scale import scale_to_budget, sheet
    from edge_effnet.registry import get_variant

    model = load_latency_model(path)
    scaled = scale_to_budget(model, get_variant(base), budget_ms, knob, format_name, precision)
    if json_to != "-":
        write(sheet(scaled))
    if not scaled.interpolated:
        note("no network of that family is published near this size: the top-1 is extrapolated")
    if json_to:
        write_json(scaled.as_json(), json_to)
