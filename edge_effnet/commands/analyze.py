"""``edge-effnet analyze``: quantization noise of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_effnet.commands.checkpoint import (
    CheckpointOptions,
    checkpoint_options,
    variant_and_weights,
    weights_option,
)
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option, threads_option
from edge_effnet.commands.terminal import note, progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.names import RecipeName, RunnableFormat


@click.command(
    cls=Command,
    examples=[
        "analyze mine.pth --calibration photos/",
        "analyze v2-b0 --format openvino --top 30 --out layers.html",
    ],
)
@click.argument("variant", metavar="VARIANT|CHECKPOINT")
@weights_option
@checkpoint_options
@option("--calibration")
@option("--recipe", default="default")
@option("--format", default="tflite")
@option("--top", default=15)
@option("--out")
@threads_option()
@json_option
def analyze(
    variant: str,
    weights: str,
    checkpoint: CheckpointOptions,
    calibration: str | None,
    recipe: RecipeName,
    format: RunnableFormat,
    top: int,
    out: str | None,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Rank the layers by their quantization noise.

    For each layer: SQNR of the logits in dB if only this layer is int8. 3 dB less is twice the
    noise. --out writes a page (.html) or a picture (.svg).
    """
    if out is not None and not out.endswith((".html", ".svg")):
        raise UsageError(f"--out {out}: give a name that ends in .html or .svg")
    from edge_effnet.calibration.sensitivity import analysis_page
    from edge_effnet.converters.analyze import analyze as analyze_model
    from edge_effnet.files import write_text

    model = checkpoint.load(*variant_and_weights(variant, weights))
    with progress() as report:
        analysis = analyze_model(
            model,
            calibration,
            format=format,
            recipe=recipe,
            threads=threads or 0,
            progress=report,
            notify=note,
        )
    if out is not None:
        draw = analysis_page.page if out.endswith(".html") else analysis_page.svg
        write_text(out, draw(analysis))
    if json_to != "-":
        write(analysis.sheet(top))
    if json_to:
        write_json(analysis.as_json(), json_to)
