"""``edge-effnet select``: the most accurate file or variant within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import finding, note, progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError
from edge_effnet.labels import read_labels

if TYPE_CHECKING:
    from edge_effnet.benchmarks.records import Results
    from edge_effnet.benchmarks.selection.select import Limits, Selection


@click.command(
    cls=Command,
    examples=[
        "select --results report/results.json --budget-ms 5 --max-drop 1",
        "select --latency-model pi.json --weights run/ --budget-ms 10",
    ],
)
@option("--results", multiple=True)
@option("--latency-model")
@option("--budget-ms", required=True)
@option("--metric", default="median")
@option("--max-drop")
@option("--max-size-mb")
@option("--max-rss-mb")
@option("--threads", shown="as measured")
@option("--device", shown="any")
@option("--classes-from", section="With --results", shown="all classes")
@option(
    "--weights",
    section="With --latency-model",
    multiple=True,
    shown="imagenet: the installed packages",
)
@option("--resolution-scales", section="With --latency-model", default="1")
@option("--confirm", section="With --latency-model", default=3)
@json_option
def select(
    results: tuple[str, ...],
    latency_model: str | None,
    weights: tuple[str, ...],
    resolution_scales: str,
    confirm: int,
    classes_from: str | None,
    budget_ms: float,
    metric: str,
    max_drop: float | None,
    max_size_mb: float | None,
    max_rss_mb: float | None,
    threads: int | None,
    device: str | None,
    json_to: str | None,
) -> None:
    """Choose the most accurate file within limits.

    Candidates are measured files (--results), or networks with predicted latency (--latency-model):
    those of your checkpoints (--weights; repeatable, also folders). The finalists are measured. A
    better network without a checkpoint is named with the command that trains it. With both,
    predicted latency stands beside measured. --threads uses only records with this number of
    threads, --device those of a device or kind. If no candidate meets the limits, the nearest one
    is shown and the exit code is 1.
    """
    from edge_effnet.benchmarks.selection import select as selection

    limits = selection.Limits(budget_ms, metric, max_drop, max_size_mb, max_rss_mb, threads)
    limits.check()
    if not results and latency_model is None:
        raise UsageError("give --results JSON, or --latency-model FILE to choose before measuring")
    if not results and classes_from is not None:
        raise UsageError("--classes-from needs measured photos: give --results")
    if results and weights:
        raise UsageError("--weights are for a choice before measuring: omit --results or --weights")
    if not results and device not in (None, "cpu"):
        raise UsageError("--device selects among measured records: give --results")
    if not results:
        chosen = _predicted(str(latency_model), limits, resolution_scales, confirm, weights)
        report(chosen, json_to, predicted=True)
        return
    measured = _read(results, classes_from)
    if device is not None:
        from dataclasses import replace

        from edge_effnet.benchmarks.devices import of_device

        measured = replace(measured, records=tuple(of_device(measured.records, device)))
    choice = selection.select(measured.records, limits)
    _note_host(measured)
    if latency_model is not None:
        choice = _with_predictions(choice, latency_model, measured)
    report(choice, json_to)


def _predicted(
    path: str, limits: Limits, scales: str, confirm: int, weights: tuple[str, ...]
) -> Selection:
    """Selection among the checkpoints; finalists are measured if the model is of this machine."""
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.benchmarks.selection import checkpoints_at_hand, finalists

    model = load_latency_model(path)
    sizes = finalists.parse_sizes(scales)
    checkpoints = (
        checkpoints_at_hand.find(weights, note) if weights else checkpoints_at_hand.built_in()
    )
    names = ", ".join(checkpoint.name for checkpoint in checkpoints)
    note(f"checkpoints at hand: {names or 'none'}" + "; --weights adds yours" * (not weights))
    here, there = host.describe(), model.host
    if confirm and (here.cpu, here.machine) != (there.cpu, there.machine):
        note(
            f"the latency model is of another machine ({there.cpu}): nothing is measured to "
            "confirm it"
        )
        confirm = 0
    elif not confirm:
        note("latencies are predicted: nothing is measured to confirm them")
    with progress() as bars:
        choice = finalists.choose_at_hand(
            model, limits, checkpoints, sizes, confirm=confirm, progress=bars, notify=note
        )
    note("top-1 is published where it is, estimated at other sizes and for int8 elsewhere")
    if not choice.predictions and limits.metric != "median":
        note(f"medians are predicted: they stand in for {limits.metric}")
    return choice


def _with_predictions(choice: Selection, path: str, measured: Results) -> Selection:
    """The selection with the latency model's prediction for each measured file."""
    from dataclasses import replace

    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.benchmarks.selection.prediction_errors import prediction_errors

    model = load_latency_model(path)
    if (model.host.cpu, model.host.machine) != (measured.host.cpu, measured.host.machine):
        raise UsageError(
            f"{path} is of another machine ({model.host.cpu}) than the results "
            f"({measured.host.cpu}): its predictions are not comparable"
        )
    errors = prediction_errors(model, measured.records)
    if not errors:
        note(
            f"{path} predicts none of these files: it holds "
            f"{', '.join(runtime.name for runtime in model.runtimes)} on {model.threads} thread(s)"
        )
    return replace(choice, predictions=errors)


def report(choice: object, json_to: str | None, *, predicted: bool = False) -> None:
    """Print a `Selection`; ends with exit code 1 if no candidate meets the limits."""
    from edge_effnet.benchmarks.selection.explain import explain, refusal
    from edge_effnet.benchmarks.selection.select import Selection

    assert isinstance(choice, Selection)  # noqa: S101  (imported late, so that --help is fast)
    if choice.measure == "published" and not predicted:
        note("no accuracy was measured: the variants' published top-1 stands in for it")
    if json_to:
        write_json(choice.as_json(), json_to)
    if choice.choice is None:
        finding(refusal(choice))
    if json_to != "-":
        write(explain(choice))


def _read(paths: tuple[str, ...], classes_from: str | None) -> Results:
    """The records of all results files; raises `UsageError` if machines differ."""
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
