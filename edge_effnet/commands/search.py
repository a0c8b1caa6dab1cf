"""``edge-effnet search``: architecture search for a latency budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import items, json_option
from edge_effnet.commands.terminal import finding, note, progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.apps.training.search.reward import Objective
    from edge_effnet.apps.training.search.space import Dimension

_DRY_TRIALS = 300


@click.command(
    cls=Command,
    examples=[
        "search --dry-run --base lite0 --budget-ms 8 --latency-model pi.json",
        "search --dry-run --base v2-b0-hswish --dimensions width,kernel --budget-ms 8 "
        "--latency-model pi.json",
    ],
)
@option("--dry-run", required=True)
@option("--budget-ms", required=True)
@option("--latency-model", required=True)
@option("--base", default="lite0")
@option("--weights", default="imagenet")
@option("--dimensions", default="depth,width,resolution")
@option("--objective", default="mnasnet-hard")
@option("--trials", default=_DRY_TRIALS)
@option("--seed", default=0)
@option("--format", default="tflite")
@option("--precision", default="int8")
@json_option
def search(
    dry_run: bool,
    budget_ms: float,
    latency_model: str,
    base: str,
    weights: str,
    dimensions: str,
    objective: Objective,
    trials: int,
    seed: int,
    format: str,
    precision: str,
    json_to: str | None,
) -> None:
    """Search for the best network within a latency budget.

    Candidates differ from --base in depth, width and resolution, and in the kernel and expansion of
    each stage if asked. The latency is predicted. With --dry-run the accuracy is read from the
    published curve of the family, by multiply-adds and balance of depth, width and resolution.
    The search is regularised evolution, and the same seed repeats it. If no network is within the
    budget, the exit code is 1.
    """
    from edge_effnet.apps.training.search.estimate import from_curve
    from edge_effnet.apps.training.search.search import search as run
    from edge_effnet.apps.training.search.sheet import sheet, train_command
    from edge_effnet.apps.training.search.space import Space
    from edge_effnet.benchmarks.prediction.accuracy_curve import accuracy_curve
    from edge_effnet.benchmarks.prediction.latency_model import load_latency_model
    from edge_effnet.registry import get_variant

    if not dry_run:
        raise UsageError("give --dry-run: trainings are not part of the search yet")
    space = Space(get_variant(base), cast("tuple[Dimension, ...]", tuple(items(dimensions))))
    model = load_latency_model(latency_model)
    runtime = model.of(format, precision)
    curve = accuracy_curve(space.base)
    with progress() as report:
        result = run(
            space,
            runtime,
            from_curve(space, curve),
            target_ms=budget_ms,
            objective=objective,
            trials=trials,
            seed=seed,
            progress=report,
        )
    if {"kernel", "expansion"} & set(space.dimensions):
        note("the curve knows multiply-adds, not kernels or expansions: train to compare these")
    if json_to:
        write_json(result.as_json(), json_to)
    if json_to != "-":
        write(
            sheet(
                result,
                accuracy=(
                    f"ImageNet top-1 from the curve of {len(curve.members)} published networks "
                    f"(cross-validation error {curve.error:.2f} points rms), less for imbalance"
                ),
                device=f"{runtime.name}, {model.threads} thread(s) of {model.host.cpu}",
                next_command=(train_command(result.best.variant, weights) if result.best else ""),
            )
        )
    if result.best is None:
        finding(f"no network of {len(result.trials)} is within {budget_ms:g} ms")
