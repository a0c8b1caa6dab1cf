"""``edge-effnet demo``: the main job, on real weights and photos."""

from __future__ import annotations

import click

from edge_effnet.commands.terminal import (
    note,
    progress,
    show,
    write,
)


@click.command()
@click.option("--out", default="report", metavar="DIR", show_default=True)
@click.option("--runs", type=click.IntRange(1), default=60, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def demo(out: str, runs: int, threads: int) -> None:
    """Run the main job on Lite0: export nine files, compare them, write the report."""
    from edge_effnet.benchmarks.demo import run

    with progress() as report:
        outcome = run(out, runs=runs, threads=threads, progress=report, notify=note)
    show(outcome.results, None, "EfficientNet-Lite0, nine files from one checkpoint")
    for photo, predictions in outcome.predictions:
        write(f"{photo}: " + ", ".join(f"{label} {p:.0%}" for label, p in predictions) + "\n")
    write(f"report: {outcome.report}\n")
