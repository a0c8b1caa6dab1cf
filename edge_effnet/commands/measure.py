"""``edge-effnet evaluate``, ``benchmark`` and ``compare``: accuracy, latency, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_effnet.answers import THRESHOLD
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import (
    device_options,
    host_options,
    json_option,
    model_files_argument,
    preprocess_options,
    threads_option,
)
from edge_effnet.commands.terminal import (
    note,
    note_broken,
    progress,
    show,
    write,
    write_error,
)
from edge_effnet.commands.vocabulary import option

if TYPE_CHECKING:
    from edge_effnet.preprocess import Preprocess


@click.command(
    cls=Command,
    examples=[
        "evaluate out/*.tflite --images photos/ --labels labels.csv",
        "evaluate int8.onnx --images photos/ --reference fp32.onnx --json -",
    ],
)
@model_files_argument()
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--split", shown="all photos")
@option("--reference", shown="the first fp32 file of the variant")
@option("--threshold", default=THRESHOLD)
@threads_option()
@device_options(several=True)
@preprocess_options
@json_option
def evaluate(
    files: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threshold: float,
    threads: int | None,
    devices: tuple[str, ...],
    device_options: dict[str, str],
    preprocess: Preprocess | None,
    json_to: str | None,
) -> None:
    """Measure the accuracy of files on labelled photos.

    Also reports agreement: the share of photos with the same top-1 prediction as the float file on
    the CPU.
    """
    from edge_effnet.benchmarks.compare import evaluate as evaluate_files

    results = evaluate_files(
        files,
        images,
        labels,
        split=split,
        reference=reference,
        threads=threads,
        preprocess=preprocess,
        threshold=threshold,
        devices=devices,
        device_options=device_options,
        notify=note,
    )
    note_broken(results)
    count = results.photos.count if results.photos else 0
    show(results, json_to, f"{count} photos of {images}")


@click.command(
    cls=Command,
    examples=[
        "benchmark out/*int8* --threads 4",
        "benchmark out/ --host ssh://pi@raspberrypi --json pi.json",
    ],
)
@model_files_argument()
@threads_option(1)
@option("--runs", default=100)
@option("--photo", shown="a generated one")
@option("--op-times")
@device_options(several=True)
@host_options
@option("--keep", section="Another machine, over SSH")
@json_option
def benchmark(
    files: tuple[str, ...],
    threads: int,
    runs: int,
    photo: str | None,
    op_times: bool,
    devices: tuple[str, ...],
    device_options: dict[str, str],
    host: str | None,
    python: str,
    ssh_config: str | None,
    keep: bool,
    json_to: str | None,
) -> None:
    """Measure the latency of files, here or on a device.

    Each file runs in its own process; the rounds of all files are interleaved. Also measures load
    time, first inference, peak memory, and the time from a photo on disk to the prediction. Energy
    is measured if the machine has a counter. Software adapters and simulators are not timed.
    """
    from edge_effnet.benchmarks.compare import benchmark as benchmark_files
    from edge_effnet.benchmarks.compare import model_files
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.measure import LostDeviceError, measure_on_device

    with progress() as report:
        if host is None:
            results = benchmark_files(
                files,
                threads=threads,
                runs=runs,
                photo=photo,
                op_times=op_times,
                devices=devices,
                device_options=device_options,
                progress=report,
                notify=note,
            )
        else:
            target = ssh.parse(host, ssh_config)
            try:
                results = measure_on_device(
                    target,
                    model_files(files),
                    threads,
                    runs,
                    profile=op_times,
                    devices=devices,
                    device_options=device_options,
                    python=python,
                    keep=keep,
                    progress=report,
                )
            except LostDeviceError as lost:
                if lost.partial is not None:
                    show(lost.partial, json_to, f"so far, on {target.host}")
                raise
    cpu = results.host.cpu
    show(results, json_to, f"latency at batch 1 on {threads} thread(s) of {cpu}")


@click.command(
    cls=Command,
    examples=[
        "compare out/ --images photos/ --labels labels.csv --out report/",
        "compare out/*int8* --images photos/ --op-times --runs 200",
    ],
)
@model_files_argument("paths", metavar="FILE|DIR...")
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--split", shown="all photos")
@option("--reference", shown="the first fp32 file of the variant")
@option("--threshold", default=THRESHOLD)
@threads_option(1)
@option("--runs", default=100)
@option("--op-times")
@device_options(several=True)
@preprocess_options
@option("--out", default="report")
@json_option
def compare(
    paths: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threshold: float,
    threads: int,
    runs: int,
    op_times: bool,
    devices: tuple[str, ...],
    device_options: dict[str, str],
    preprocess: Preprocess | None,
    out: str,
    json_to: str | None,
) -> None:
    """Measure accuracy and latency, and write a report.

    For photos without labels, agreement with the float file replaces accuracy.
    """
    from edge_effnet.benchmarks.compare import REPORT_NAME
    from edge_effnet.benchmarks.compare import compare as compare_files

    results = compare_files(
        paths,
        images,
        labels,
        split=split,
        out=out,
        threads=threads,
        runs=runs,
        reference=reference,
        preprocess=preprocess,
        threshold=threshold,
        op_times=op_times,
        devices=devices,
        device_options=device_options,
        notify=note,
    )
    note_broken(results)
    show(results, json_to, f"report in {out}")
    report_line = f"report: {Path(out) / REPORT_NAME}"
    if json_to == "-":
        write_error(report_line)
    else:
        write(report_line + "\n")
