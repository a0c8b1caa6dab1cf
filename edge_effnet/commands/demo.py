"""``edge-effnet demo``: the conversion or the training, with real weights and photos."""

from __future__ import annotations

import shlex

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.terminal import (
    note,
    progress,
    show,
    write,
)
from edge_effnet.commands.vocabulary import option


@click.command(cls=Command, examples=["demo", "demo --train --out demo/"])
@option("--train")
@option("--out", default="report")
@option("--runs", default=60)
@option("--threads", shown="1, for latency; all cores for --train")
def demo(train: bool, out: str, runs: int, threads: int | None) -> None:
    """Export and compare Lite0's files: the main job.

    Writes twelve files from one checkpoint (three formats in fp32, fp16, int8 and mixed) and a
    report that compares them. With --train, trains Lite0 on crops of seven photos first.
    """
    if train:
        _train(out, threads or 0)
        return
    from edge_effnet.benchmarks.demo.conversion import run

    with progress() as report:
        outcome = run(out, runs=runs, threads=threads or 1, progress=report, notify=note)
    show(outcome.results, None, "EfficientNet-Lite0, twelve files from one checkpoint")
    for photo, predictions in outcome.predictions:
        write(f"{photo}: " + ", ".join(f"{label} {p:.0%}" for label, p in predictions) + "\n")
    write(f"report: {outcome.report}\n")


def _train(out: str, threads: int) -> None:
    from edge_effnet.benchmarks.demo.training import run

    with progress() as report:
        outcome = run(out, threads=threads, progress=report, notify=note)
    show(outcome.results, None, "EfficientNet-Lite0, trained on crops of seven kinds of photos")
    quantized = next(str(path) for path in outcome.files if path.name.endswith("int8.tflite"))
    write(f"page: {outcome.run.page_file}\n")
    write(f"next: edge-effnet camera {shlex.quote(quantized)} --source 0 --preview http\n")
