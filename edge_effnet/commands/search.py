"""``edge-effnet search``: architecture search for a latency budget."""

from __future__ import annotations

import math
import os
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import items, json_option
from edge_effnet.commands.terminal import finding, note, progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_effnet.apps.training.search.reward import Objective
    from edge_effnet.apps.training.search.search import AccuracyEstimate, SearchResult
    from edge_effnet.apps.training.search.space import Dimension
    from edge_effnet.benchmarks.sweep.executors import Cluster, Processes
    from edge_effnet.progress import Progress

    Search = Callable[[AccuracyEstimate, int, Progress], SearchResult]

_DRY_TRIALS, _TRIALS = 300, 24
_TRAINING = "Short trainings"


@click.command(
    cls=Command,
    examples=[
        "search --base b0 --budget-ms 8 --latency-model pi.json --dry-run",
        "search photos/ --base lite0 --budget-ms 8 --latency-model pi.json",
    ],
)
@click.argument("photos", required=False)
@option("--budget-ms", required=True)
@option("--latency-model", required=True)
@option("--base", default="lite0")
@option("--dimensions", default="depth,width,resolution")
@option("--objective", default="mnasnet-hard")
@option("--trials", shown=f"{_TRIALS}, or {_DRY_TRIALS} with --dry-run")
@option("--dry-run")
@option("--seed", default=0)
@option("--format", default="tflite")
@option("--precision", default="int8")
@option("--weights", section=_TRAINING, default="imagenet")
@option("--labels", section=_TRAINING, shown="the folders' names")
@option("--epochs", section=_TRAINING, default=5)
@option("--workers", section=_TRAINING, shown="one per core")
@option("--scheduler", section=_TRAINING, shown="this machine")
@option("--out", section=_TRAINING, default="search")
@json_option
def search(
    photos: str | None,
    budget_ms: float,
    latency_model: str,
    base: str,
    dimensions: str,
    objective: Objective,
    trials: int | None,
    dry_run: bool,
    seed: int,
    format: str,
    precision: str,
    weights: str,
    labels: str | None,
    epochs: int,
    workers: int | None,
    scheduler: str | None,
    out: str,
    json_to: str | None,
) -> None:
    """Search for the best network within a latency budget.

    Candidates differ from --base in depth, width and resolution, and in the kernel and expansion of
    each stage if asked. The latency is predicted. The accuracy is measured after short trainings on
    PHOTOS, from weights inherited from the base. With --dry-run it is read from the family's
    published curve, by multiply-adds and balance of depth, width and resolution. The same command
    resumes a stopped search from the journal in --out. If no network is within the budget, the exit
    code is 1.
    """
    from edge_effnet.apps.training.search.estimate import from_curve
    from edge_effnet.apps.training.search.search import search as run
    from edge_effnet.apps.training.search.sheet import sheet, train_command
    from edge_effnet.apps.training.search.space import Space
    from edge_effnet.benchmarks.prediction.accuracy_curve import accuracy_curve
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.registry import get_variant

    space = Space(get_variant(base), cast("tuple[Dimension, ...]", tuple(items(dimensions))))
    model = load_latency_model(latency_model)
    runtime = model.of(format, precision)

    def searched(accuracy: AccuracyEstimate, count: int, report: Progress) -> SearchResult:
        return run(
            space,
            runtime,
            accuracy,
            target_ms=budget_ms,
            objective=objective,
            trials=trials or count,
            seed=seed,
            progress=report,
        )

    if dry_run:
        curve = accuracy_curve(space.base)
        with progress() as report:
            result = searched(from_curve(space, curve), _DRY_TRIALS, report)
        accuracy = (
            f"ImageNet top-1 from the curve of {len(curve.members)} published networks "
            f"(cross-validation error {curve.error:.2f} points rms), less for imbalance"
        )
        if {"kernel", "expansion"} & set(space.dimensions):
            note("the curve knows multiply-adds, not kernels or expansions: train to compare these")
    else:
        if photos is None:
            raise UsageError("give a folder of photos to train on, or --dry-run")
        if scheduler is not None and workers is not None:
            raise UsageError("--workers and --scheduler exclude each other")
        result, accuracy = _trained(
            searched, photos, labels, base, weights, epochs, seed, workers, scheduler, out
        )
    if json_to:
        write_json(result.as_json(), json_to)
    if json_to != "-" and result.trials:
        following = ""
        if result.best is not None:
            following = train_command(result.best.variant, weights, photos or "photos/")
        device = f"{runtime.name}, {model.threads} thread(s) of {model.host.cpu}"
        write(sheet(result, accuracy=accuracy, device=device, next_command=following))
    if result.best is None:
        finding(f"no network of {len(result.trials)} is within {budget_ms:g} ms")


def _trained(
    searched: Search,
    photos: str,
    labels: str | None,
    base: str,
    weights: str,
    epochs: int,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    out: str,
) -> tuple[SearchResult, str]:
    """The result of a search with short trainings, and one line on its accuracies."""
    from edge_effnet.apps.training.dataset.read import read_training_data
    from edge_effnet.apps.training.search import short_training
    from edge_effnet.benchmarks.sweep.journal import Journal
    from edge_effnet.checkpoints import load
    from edge_effnet.errors import require
    from edge_effnet.files import make_folder
    from edge_effnet.registry import get_variant, original_of

    for package in ("torch", "timm"):
        require(package, "train")
    if weights != "imagenet":
        weights = os.path.abspath(weights)
    original = load(original_of(get_variant(base))[0], weights, notify=note)
    folder = make_folder(out)
    with progress() as report:
        data = read_training_data(
            Path(os.path.abspath(photos)),
            labels=None if labels is None else Path(os.path.abspath(labels)),
            seed=seed,
            side=original.info.preprocess.size,
            progress=report,
        )
        for each in data.findings:
            note(each.message)
        training = short_training.ShortTraining("", weights, data, epochs, seed, "cpu", 1)
        digest = "" if original.info.source is None else original.info.source.sha256
        identity = short_training.identity(training, digest)
        pool = _pool(scheduler, workers, folder)
        with (
            Journal(folder / short_training.JOURNAL_NAME) as journal,
            # With a scheduler the pool is a Cluster, which alone has `close`.
            closing(pool) if scheduler else nullcontext(),  # type: ignore[type-var]
        ):
            before = len(journal.done)
            trainings = short_training.ShortTrainings(
                training,
                pool,
                journal,
                identity,
                report,
                lambda name, error: note(f"{name} was not trained: {error}"),
            )
            result = searched(trainings, _TRIALS, report)
            new = len(journal.done) - before
            note(f"{new} trainings; {len(result.trials) - new} were in {journal.path} before")
    if not result.trials:
        raise UsageError(f"all {len(result.failures)} trainings failed; the notes say why")
    count = len(data.of("val"))
    top1 = max(trial.top1 for trial in result.trials)
    deviation = 100 * math.sqrt(max(top1 * (1 - top1), 0.25 / count) / count)
    trained = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    return result, (
        f"top-1 on {count} validation photos after {trained} "
        f"(standard error {deviation:.1f} points)"
    )


def _pool(scheduler: str | None, workers: int | None, folder: Path) -> Processes | Cluster:
    """Processes of this machine, or the workers of a Dask scheduler."""
    from edge_effnet.benchmarks.sweep.executors import Cluster, Processes

    if scheduler is not None:
        return Cluster(scheduler, folder)
    return Processes(workers or os.cpu_count() or 1)
