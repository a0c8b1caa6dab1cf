"""``edge-effnet bench training``: our training beside those of ultralytics and timm."""

from __future__ import annotations

from pathlib import Path

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option, threads_option
from edge_effnet.commands.terminal import note, write, write_json
from edge_effnet.commands.vocabulary import option


@click.command(
    cls=Command,
    examples=[
        "bench training photos/ --epochs 15",
        "bench training photos/ --peer-weights yolo11n-cls.pt --epochs 5",
    ],
)
@click.argument("photos")
@option("--variant", default="lite0")
@option("--weights", default="imagenet")
@option("--epochs", default=15)
@option("--resolution", default=224)
@option("--seed", default=0)
@threads_option(1)
@option("--peer-weights", shown="none: ultralytics trains from scratch")
@option("--timm-script", shown="none: timm is left out")
@option("--timm-weights", shown="none: timm trains from scratch")
@option("--out", default="training-bench")
@json_option
def training(
    photos: str,
    variant: str,
    weights: str,
    epochs: int,
    resolution: int,
    seed: int,
    threads: int,
    peer_weights: str | None,
    timm_script: str | None,
    timm_weights: str | None,
    out: str,
    json_to: str | None,
) -> None:
    """Compare with the trainings of ultralytics and timm.

    All tools learn the same photos of PHOTOS at the same resolution and epochs. Each peer has an
    environment in --out, made with pip. Pretrained weights of peers are files that you give,
    otherwise they train from scratch, and the table says so.
    """
    from edge_effnet.benchmarks.suite.training import TrainingComparison, sheet

    comparison = TrainingComparison(
        Path(photos),
        Path(out),
        variant,
        weights,
        epochs,
        resolution,
        threads,
        seed,
        None if peer_weights is None else Path(peer_weights).absolute(),
        None if timm_script is None else Path(timm_script).absolute(),
        None if timm_weights is None else Path(timm_weights).absolute(),
    )
    records = comparison.run(note)
    if json_to != "-":
        write(sheet(records))
    if json_to:
        write_json([record.as_json() for record in records], json_to)
