"""``edge-effnet sweep``: resumable export and measurement of many variants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import (
    device_options,
    host_options,
    items,
    json_option,
    threads_option,
)
from edge_effnet.commands.terminal import note, note_broken, progress, show
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.records import Results
    from edge_effnet.names import OutputActivation


@click.command(
    cls=Command,
    examples=[
        "sweep lite0 lite0@192 --calibration photos/ --images test/",
        "sweep lite0=a.pth v2-b0=b.keras --precisions fp16 --images test/",
    ],
)
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT[@SIDE][=CHECKPOINT]...")
@option("--weights", default="imagenet")
@option("--class-names", shown="the checkpoints'")
@option("--output-activation", shown="the checkpoints', or softmax")
@option("--formats", default="tflite,onnx,openvino")
@option("--precisions", default="fp32,int8")
@option("--calibration")
@option("--images", shown="none: latency only")
@option("--labels", shown="the folders' names")
@option("--split", shown="all photos")
@threads_option(1)
@option("--runs", default=100)
@option("--op-times")
@device_options(several=True)
@option("--workers", shown="one per core")
@option("--scheduler", shown="this machine")
@host_options
@option("--out", default="sweep")
@json_option
def sweep(
    variants: tuple[str, ...],
    weights: str,
    class_names: str | None,
    output_activation: OutputActivation | None,
    formats: str,
    precisions: str,
    calibration: str | None,
    images: str | None,
    labels: str | None,
    split: str | None,
    threads: int,
    runs: int,
    op_times: bool,
    devices: tuple[str, ...],
    device_options: dict[str, str],
    workers: int | None,
    scheduler: str | None,
    host: str | None,
    python: str,
    ssh_config: str | None,
    out: str,
    json_to: str | None,
) -> None:
    """Export and measure many variants; resumable.

    Exports every VARIANT in every format and precision, after a check of all checkpoints, photos,
    labels and packages. The same command resumes a stopped sweep. With other variants or settings,
    results that do not depend on the change are kept. --weights applies to variants without a
    CHECKPOINT. --out is the folder for the files, results.json and report.html.
    """
    from contextlib import closing, nullcontext

    from edge_effnet.benchmarks.sweep import checks
    from edge_effnet.benchmarks.sweep import sweep as sweeps
    from edge_effnet.benchmarks.sweep.executors import Cluster, Processes
    from edge_effnet.benchmarks.sweep.plan import Cell, Plan
    from edge_effnet.converters.options import ExportOptions

    problems = checks.Problems()
    cells: list[Cell] = []
    for text in variants:
        with problems.collected():
            cells.append(Cell.parse(text, weights))
    options = ExportOptions((), ())
    with problems.collected():
        options = ExportOptions.create(items(formats), items(precisions))
        options.need_photos(calibration)
    plan = Plan(
        tuple(cells),
        options.formats,
        options.precisions,
        calibration,
        images,
        labels,
        split,
        class_names,
        output_activation,
        devices,
        device_options,
    )
    networks = checks.check(plan, out, problems, threads=None if host else threads)
    problems.raise_all()
    measure, where = _measure(
        threads, runs, op_times, devices, device_options, host, python, ssh_config
    )
    timing = {"threads": threads, "runs": runs, "profile": op_times, "device": where}
    folder = Path(out)
    pool = Cluster(scheduler, folder) if scheduler else Processes(workers or os.cpu_count() or 1)
    with progress() as report, closing(pool) if isinstance(pool, Cluster) else nullcontext():
        done = sweeps.sweep(
            plan,
            folder,
            pool,
            measure,
            timing=timing,
            networks=networks,
            progress=report,
            notify=note,
        )
    note_broken(done.results)
    before = f" ({done.before} were done before)" if done.before else ""
    note(
        f"{done.tasks} tasks{before}: {done.work_s:.1f} s of work, {done.bookkeeping_s:.2f} s of "
        "bookkeeping"
    )
    show(done.results, json_to, f"report in {folder}")
    if done.failures:
        task, why = done.failures[0]
        more = f", and {len(done.failures) - 1} more steps failed" * (len(done.failures) > 1)
        raise UsageError(
            f"{task}: {why}{more}; the rest is in {folder}, and the same command tries these again"
        )


def _measure(
    threads: int,
    runs: int,
    op_times: bool,
    devices: tuple[str, ...],
    device_options: dict[str, str],
    machine: str | None,
    python: str,
    ssh_config: str | None,
) -> tuple[Callable[[Sequence[str]], Results], str]:
    """Function that times files, and the machine's name, which must be the same for the sweep."""
    from edge_effnet.benchmarks import compare
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.measure import measure_on_device

    if machine is None:
        here = host.describe()

        def local(files: Sequence[str]) -> Results:
            return compare.benchmark(
                files,
                threads=threads,
                runs=runs,
                op_times=op_times,
                devices=devices,
                device_options=device_options,
                progress=False,
                notify=note,
            )

        return local, f"{here.cpu}, {here.machine}, {here.cores} cores"
    target = ssh.parse(machine, ssh_config)
    settings: dict[str, Any] = {
        "profile": op_times,
        "python": python,
        "devices": devices,
        "device_options": device_options,
    }

    def there(files: Sequence[str]) -> Results:
        return measure_on_device(target, files, threads, runs, **settings)

    return there, machine
