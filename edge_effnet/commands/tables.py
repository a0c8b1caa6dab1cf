"""``edge-effnet tables``: computed and published values of the papers' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import progress, write_json, write_table
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.papers.transfer import Transfer


@click.command(cls=Command, examples=["tables", "tables v1-2 v2-7 --json tables.json"])
@click.argument("names", nargs=-1, metavar="[TABLE]...")
@option("--run", multiple=True)
@json_option
def tables(names: tuple[str, ...], trainings: tuple[str, ...], json_to: str | None) -> None:
    """Compute the papers' tables beside the printed values.

    TABLE is v1-1, v1-2, v1-3, v1-5, v1-7 (EfficientNet paper), v2-4 or v2-7 (EfficientNetV2 paper).
    Without TABLE, all are shown. --run adds trainings of yours to v1-5, transfer learning.
    """
    from edge_effnet.benchmarks.papers.comparison import render
    from edge_effnet.benchmarks.papers.tables import TABLES
    from edge_effnet.benchmarks.papers.transfer import transfer

    for name in names:
        if name not in TABLES:
            raise UsageError(f"there is no table {name!r}; known are {', '.join(TABLES)}")
    chosen = names or tuple(TABLES)
    comparisons = []
    with progress() as report:
        for done, name in enumerate(chosen, 1):
            comparisons.append(
                transfer([_transfer(each) for each in trainings])
                if name == "v1-5"
                else TABLES[name]()
            )
            report("compute tables", done, len(chosen))
    if json_to != "-":
        write_table(lambda width: render(comparisons))
    if json_to:
        write_json([table.as_json() for table in comparisons], json_to)


def _transfer(folder: str) -> Transfer:
    """Accuracy of a training's network on its test photos."""
    from pathlib import Path

    from edge_effnet.apps.training.run import Run
    from edge_effnet.benchmarks.papers.transfer import Transfer

    run = Run.open(folder)
    metrics, model = run.metrics(), run.model()
    improved = [stage.stage for stage in metrics.stages if stage.improved]
    stages = [name for name in improved if name != "int8_aware"]  # the paper's are in float
    measured = metrics.of(stages[-1], "test") if stages else None
    if measured is None:
        raise UsageError(f"{folder} has no accuracy on test photos; it may be unfinished")
    return Transfer(
        name=Path(run.settings.photos).name,
        variant=model.variant.name,
        train=sum(len(run.data().of(split)) for split in ("train", "val")),
        test=measured.n,
        classes=model.classes,
        top1=measured.top1,
        params=model.graph.params,
    )
