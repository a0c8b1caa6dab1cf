"""``edge-effnet demo``: export and comparison with real weights and photos."""

from __future__ import annotations

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import threads_option
from edge_effnet.commands.terminal import (
    note,
    progress,
    show,
    write,
)
from edge_effnet.commands.vocabulary import option


@click.command(cls=Command, examples=["demo", "demo --out report --runs 200"])
@option("--out", default="report")
@option("--runs", default=60)
@threads_option(1)
def demo(out: str, runs: int, threads: int) -> None:
    """Export and compare Lite0's files: the main job.

    Writes nine files from one checkpoint (three formats in fp32, fp16 and int8) and a report that
    compares them.
    """
    from edge_effnet.benchmarks.demo.conversion import run

    with progress() as report:
        outcome = run(out, runs=runs, threads=threads, progress=report, notify=note)
    show(outcome.results, None, "EfficientNet-Lite0, nine files from one checkpoint")
    for photo, predictions in outcome.predictions:
        write(f"{photo}: " + ", ".join(f"{label} {p:.0%}" for label, p in predictions) + "\n")
    write(f"report: {outcome.report}\n")
