"""``edge-effnet select``: the best model within a budget, from measured records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import note, progress, write, write_json
from edge_effnet.errors import UsageError
from edge_effnet.labels import read_labels

if TYPE_CHECKING:
    from edge_effnet.benchmarks.records import Results
    from edge_effnet.benchmarks.selection.select import Limits, Selection

_METRICS = ("median", "p90", "p99", "min", "mean")


@click.command()
@click.option(
    "--results",
    "paths",
    multiple=True,
    metavar="JSON",
    help="What compare, benchmark or sweep wrote; may be given again.",
)
@click.option(
    "--predict",
    "profile_path",
    metavar="FILE",
    help="Of 'edge-effnet profile': choose from the whole family instead.",
)
@click.option(
    "--sizes",
    default="1",
    show_default=True,
    metavar="LIST",
    help="With --predict: shares of a variant's own side, as 1,0.85,0.7.",
)
@click.option(
    "--confirm",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="With --predict: finalists to measure here.",
)
@click.option(
    "--classes-from",
    metavar="FILE",
    help="With --results: judge by the photos of the classes it names, one a line.",
)
@click.option("--budget-ms", type=float, required=True, metavar="MS")
@click.option("--metric", type=click.Choice(_METRICS), default="median", show_default=True)
@click.option("--max-drop", type=float, metavar="POINTS", help="Of top-1 against float32.")
@click.option("--max-size-mb", type=float, metavar="MB", help="Of the file, in 10^6 bytes.")
@click.option("--max-rss-mb", type=float, metavar="MB", help="Peak memory, in MiB.")
@click.option("--threads", type=click.IntRange(1), help="Only records timed on so many.")
@json_option
def select(
    paths: tuple[str, ...],
    profile_path: str | None,
    sizes: str,
    confirm: int,
    classes_from: str | None,
    budget_ms: float,
    metric: str,
    max_drop: float | None,
    max_size_mb: float | None,
    max_rss_mb: float | None,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Choose the most accurate file that meets the limits, and say why.

    From measured records (--results), or from predictions for every variant (--predict), of which
    the finalists are then measured.

    Exits with 2 when nothing fits, naming the nearest.
    """
    from edge_effnet.benchmarks.selection import select as selection

    limits = selection.Limits(budget_ms, metric, max_drop, max_size_mb, max_rss_mb, threads)
    limits.check()
    if bool(paths) == (profile_path is not None):
        raise UsageError("give --results JSON, or --predict FILE to choose before measuring")
    if profile_path is not None:
        if classes_from is not None:
            raise UsageError("--classes-from needs measured photos: give --results, not --predict")
        chosen = _predicted(profile_path, limits, sizes, confirm)
        report(chosen, json_to, predicted=True)
        return
    results = _read(paths, classes_from)
    found = selection.select(results.records, limits)
    _note_host(results)
    report(found, json_to)


def _predicted(path: str, limits: Limits, sizes: str, confirm: int) -> Selection:
    """The selection over the whole family, the finalists measured if the profile is of here."""
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.benchmarks.selection import finalists

    model = load_latency_model(path)
    shares = finalists.parse_sizes(sizes)
    here, there = host.describe(), model.host
    if confirm and (here.cpu, here.machine) != (there.cpu, there.machine):
        note(
            f"the latency model is of another machine ({there.cpu}): nothing is measured to "
            "confirm it"
        )
        confirm = 0
    with progress() as bars:
        found, measured = finalists.choose(
            model, limits, shares, confirm=confirm, progress=bars, notify=note
        )
    for record in measured:
        if record.latency_ms is not None:
            note(f"measured {record.file}: {record.latency_ms.median:.2f} ms median")
    note("top-1 is published where it is, estimated at other sizes and for int8 elsewhere")
    if not measured and limits.metric != "median":
        note(f"medians are predicted: they stand in for {limits.metric}")
    return found


def report(found: object, json_to: str | None, *, predicted: bool = False) -> None:
    """Print a `Selection`; raises `UsageError` when nothing fits, after any JSON was written."""
    from edge_effnet.benchmarks.selection.explain import explain, refusal
    from edge_effnet.benchmarks.selection.select import Selection

    assert isinstance(found, Selection)  # noqa: S101  (imported late, so that --help is quick)
    if found.measure == "published" and not predicted:
        note("no accuracy was measured: the variants' published top-1 stands in for it")
    if json_to:
        write_json(found.as_json(), json_to)
    if found.choice is None:
        raise UsageError(refusal(found))
    if json_to != "-":
        write(explain(found))


def _read(paths: tuple[str, ...], classes_from: str | None) -> Results:
    """The records of all files as one; raises `UsageError` where they are of several machines."""
    from dataclasses import replace

    from edge_effnet.benchmarks.accuracy.classes import restrict
    from edge_effnet.benchmarks.records import read_results

    first, *others = (read_results(path) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        if _machine(other) != _machine(first):
            raise UsageError(
                f"{path} was measured on another machine ({other.host.cpu}) than {paths[0]} "
                f"({first.host.cpu}); their times cannot be compared: select from one at a time"
            )
    parts = [first, *others]
    if classes_from is not None:
        wanted = read_labels(classes_from)
        parts = [restrict(part, wanted, path) for part, path in zip(parts, paths, strict=True)]
    records = tuple(record for part in parts for record in part.records)
    if not records:
        raise UsageError(f"{', '.join(paths)} holds no records; measure again")
    return replace(first, records=records)


def _machine(results: Results) -> tuple[str, str, int]:
    return results.host.cpu, results.host.machine, results.host.cores


def _note_host(results: Results) -> None:
    from edge_effnet.benchmarks.latency import host

    here = host.describe()
    there = results.host
    if there.cpu != "unknown" and (there.cpu, there.machine) != (here.cpu, here.machine):
        note(
            f"these records were measured on another machine ({there.cpu}): the choice is "
            f"for that one, not for this ({here.cpu})"
        )
