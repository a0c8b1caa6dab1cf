"""``edge-effnet evaluate``, ``benchmark`` and ``compare``: accuracy, latency, the report."""

from __future__ import annotations

import click

from edge_effnet.commands.options import (
    device_options,
    json_option,
    model_files_argument,
    preprocess_of,
    preprocess_options,
)
from edge_effnet.commands.terminal import (
    note_broken,
    progress,
    show,
)


@click.command()
@model_files_argument()
@click.option("--images", required=True, metavar="DIR", help="Labelled photos.")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", metavar="NAME", help="Only the photos of this split.")
@click.option("--reference", metavar="FILE", help="Float file to compare with.")
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@preprocess_options
@json_option
def evaluate(
    files: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threads: int | None,
    size: int | None,
    crop: float | None,
    mean: str | None,
    std: str | None,
    json_to: str | None,
) -> None:
    """Measure the accuracy of FILES on labelled photos, and their agreement with float."""
    from edge_effnet.benchmarks.compare import evaluate as evaluate_files

    results = evaluate_files(
        files,
        images,
        labels,
        split=split,
        reference=reference,
        threads=threads,
        preprocess=preprocess_of(size, crop, mean, std),
    )
    note_broken(results)
    count = results.photos.count if results.photos else 0
    show(results, json_to, f"{count} photos of {images}")


@click.command()
@model_files_argument()
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--photo", metavar="FILE", help="Time the way from it to the answer [a made-up one].")
@click.option("--profile", is_flag=True, help="Time each operator, where the runtime tells.")
@device_options
@click.option("--keep", is_flag=True, help="Leave what was copied to the device there.")
@json_option
def benchmark(
    files: tuple[str, ...],
    threads: int,
    runs: int,
    photo: str | None,
    profile: bool,
    device_name: str,
    python: str,
    ssh_config: str | None,
    keep: bool,
    json_to: str | None,
) -> None:
    """Measure the latency of FILES, here or on a device, each in its own process, interleaved.

    Also load time, first inference, peak memory, energy where the machine counts it, and the way
    from a photo on disk to the answer.
    """
    from edge_effnet.benchmarks.compare import benchmark as benchmark_files
    from edge_effnet.benchmarks.compare import model_files
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.measure import LostDeviceError, measure_on_device

    with progress() as report:
        if device_name == "local":
            results = benchmark_files(
                files,
                threads=threads,
                runs=runs,
                photo=photo,
                op_times=profile,
                progress=report,
            )
        else:
            target = ssh.parse(device_name, ssh_config)
            try:
                results = measure_on_device(
                    target,
                    model_files(files),
                    threads,
                    runs,
                    profile=profile,
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


@click.command()
@model_files_argument("paths", metavar="FILE|DIR...")
@click.option("--images", required=True, metavar="DIR", help="Photos, labelled or not.")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", metavar="NAME", help="Only the photos of this split.")
@click.option("--reference", metavar="FILE", help="Float file to compare with.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--profile", is_flag=True, help="Time each operator, where the runtime tells.")
@preprocess_options
@click.option("--out", default="report", metavar="DIR", show_default=True)
@json_option
def compare(
    paths: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threads: int,
    runs: int,
    profile: bool,
    size: int | None,
    crop: float | None,
    mean: str | None,
    std: str | None,
    out: str,
    json_to: str | None,
) -> None:
    """Measure accuracy and latency of files side by side and write the report."""
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
        preprocess=preprocess_of(size, crop, mean, std),
        op_times=profile,
    )
    note_broken(results)
    show(results, json_to, f"report in {out}")
    click.echo(f"report: {out}/{REPORT_NAME}", err=json_to == "-")
