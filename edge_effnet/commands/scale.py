"""``edge-effnet scale``: a variant scaled to a latency budget."""

from __future__ import annotations

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import note, write, write_json
from edge_effnet.commands.vocabulary import option


@click.command(
    cls=Command,
    examples=[
        "scale --budget-ms 12 --base b0 --latency-model pi.json",
        "scale --budget-ms 3 --axis width --latency-model pi.json",
    ],
)
@option("--budget-ms", required=True)
@option("--latency-model", required=True)
@option("--base", default="b0")
@option("--axis", default="phi")
@option("--format", default="tflite")
@option("--precision", default="int8")
@json_option
def scale(
    budget_ms: float,
    latency_model: str,
    base: str,
    axis: str,
    format: str,
    precision: str,
    json_to: str | None,
) -> None:
    """Scale a variant until it fills a latency budget.

    The latency is predicted for the device of the latency model. The output includes the Python
    code that builds the scaled variant for training.
    """
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.benchmarks.prediction.scale import scale_to_budget, sheet
    from edge_effnet.registry import get_variant

    model = load_latency_model(latency_model)
    scaled = scale_to_budget(model, get_variant(base), budget_ms, axis, format, precision)
    if json_to != "-":
        write(sheet(scaled))
    if not scaled.interpolated:
        note("no network of that family is published near this size: the top-1 is extrapolated")
    if json_to:
        write_json(scaled.as_json(), json_to)
