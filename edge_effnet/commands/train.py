"""``edge-effnet train``: from a folder of photos to a checkpoint of the user's classes."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.commands.checkpoint import is_path
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option, threads_option
from edge_effnet.commands.terminal import note, progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.apps.training.metrics import Metrics
    from edge_effnet.apps.training.run import Run
    from edge_effnet.names import TrainRecipe


@click.command(
    cls=Command,
    examples=[
        "train photos/ --variant lite0 --out run/",
        "train photos/ --budget-ms 30 --latency-model pi5.json",
    ],
)
@click.argument("photos", required=False)
@option("--variant", shown="lite0, or that of --weights")
@option("--weights", shown="imagenet")
@option("--labels", shown="a folder per class")
@option("--class-names", shown="the folders")
@option("--resolution", shown="the checkpoint's")
@option("--recipe:train", shown="default")
@option("--epochs", shown="the recipe's")
@option("--balanced")
@option("--teacher")
@option("--int8-aware/--no-int8-aware", default=True)
@option("--activation", shown="the variant's")
@option("--squeeze-excite/--no-squeeze-excite", default=True)
@option("--device:train", shown="cpu")
@threads_option()
@option("--seed", shown="0")
@option("--out", default="run")
@json_option
@option("--resume", section="Continuing a run")
@option("--more", section="Continuing a run")
@option("--budget-ms", section="Choosing the variant")
@option("--latency-model", section="Choosing the variant")
def train(
    photos: str | None,
    variant: str | None,
    weights: str | None,
    labels: str | None,
    class_names: str | None,
    resolution: int | None,
    recipe: TrainRecipe | None,
    epochs: int | None,
    balanced: bool,
    teacher: str | None,
    int8_aware: bool,
    activation: str | None,
    squeeze_excite: bool,
    device: str | None,
    threads: int | None,
    seed: int | None,
    out: str,
    json_to: str | None,
    resume: bool,
    more: int | None,
    budget_ms: float | None,
    latency_model: str | None,
) -> None:
    """Train a classifier on your photos.

    PHOTOS is a folder with one folder per class, or with the folders train, val and test of class
    folders. The head is trained first, in seconds, then all layers, which needs torch. --resume
    continues after Ctrl-C or a crash. 'export RUN' makes the files.
    """
    from edge_effnet.apps.training.train import rank
    from edge_effnet.apps.training.train import train as run_training

    if (budget_ms is None) != (latency_model is None):
        raise UsageError("--budget-ms and --latency-model choose the variant together: give both")
    if budget_ms is not None and latency_model is not None:
        if variant not in (None, "auto"):
            raise UsageError(f"--budget-ms chooses the variant: omit --variant {variant}")
        variant, weights = _chosen(latency_model, budget_ms, weights)
    elif variant == "auto" and weights is None:
        raise UsageError("--variant auto needs --weights FILE, or --budget-ms and --latency-model")
    with progress() as report:
        run = run_training(
            photos,
            variant=variant,
            weights=weights,
            out=out,
            labels=labels,
            class_names=class_names,
            recipe=recipe,
            epochs=epochs,
            more=more,
            resume=resume,
            resolution=resolution,
            seed=seed,
            device=device,
            threads=threads or 0,
            balanced=balanced or None,
            teacher=teacher,
            int8_aware=None if int8_aware else False,
            activation=activation,
            squeeze_excite=squeeze_excite,
            progress=report,
            notify=note,
        )
    if rank() > 0:  # of several processes, the first one reports
        return
    metrics = run.metrics()
    if json_to != "-":
        write(sheet(run, metrics))
    if json_to:
        write_json(_content(run, metrics), json_to)


def _chosen(latency_model: str, budget_ms: float, weights: str | None) -> tuple[str, str]:
    """Variant and weights of the most accurate network within the budget."""
    from edge_effnet.apps.training.choice import choose_variant

    choice = choose_variant(latency_model, budget_ms, weights, note)
    return choice.variant, choice.weights


def sheet(run: Run, metrics: Metrics) -> str:
    """The accuracy of each stage, and the next command."""
    lines = [f"{'stage':<12} {'split':<6} {'photos':>6} {'top-1 %':>14} {'loss':>6} {'ECE':>5}"]
    for each in metrics.splits:
        if each.split != "train":
            top1 = f"{100 * each.top1:.1f}"
            if each.standard_error:  # 0 if all or no photos are right, however few they are
                top1 += f" ± {100 * each.standard_error:.1f}"
            lines.append(
                f"{each.stage:<12} {each.split:<6} {each.n:>6} {top1:>14} {each.loss:>6.3f} "
                f"{each.ece:>5.3f}"
            )
    for stage in metrics.stages:
        result = "" if stage.improved else "not used: "
        lines.append(f"{stage.stage}: {stage.seconds:.0f} s; {result}{stage.note}")
    if run.page_file.is_file():
        lines.append(f"page: {run.page_file}")
    folder = str(run.folder)
    folder = folder if is_path(folder) else os.path.join(".", folder)  # a folder named lite0
    lines.append(f"next: {shlex.join(['edge-effnet', 'export', folder])} --out out/")
    return "\n".join(lines) + "\n"


def _content(run: Run, metrics: Metrics) -> dict[str, Any]:
    from dataclasses import asdict

    data = run.data()
    return {
        "run": str(run.folder),
        "checkpoint": str(run.model_file),
        "variant": run.settings.variant,
        "photos": {split: len(data.of(split)) for split in ("train", "val", "test")},
        "findings": [asdict(finding) for finding in data.findings],
        "settings": asdict(run.settings),
        **asdict(metrics),
    }
