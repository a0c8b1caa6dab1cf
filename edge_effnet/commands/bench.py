"""``edge-effnet bench``: the project's own benchmarks, one subcommand each."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edge_effnet.commands.options import json_option, split
from edge_effnet.commands.terminal import note, progress, write, write_json, write_table
from edge_effnet.errors import UsageError

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_CSV = click.Path(exists=True, dir_okay=False, path_type=Path)
_FORMATS = "tflite,onnx,openvino"
_COUNT = click.IntRange(1)


@click.group()
def bench() -> None:
    """Run one of the project's own benchmarks; measure on an idle machine."""


@bench.command()
@click.option("--variant", default="lite0", show_default=True)
@click.option("--weights", default="imagenet", show_default=True, help="A checkpoint.")
@click.option("--images", type=_FOLDER, required=True, help="Labelled photos.")
@click.option("--labels", type=_CSV, help="Header file,label,split.")
@click.option("--split", "split_name", default="evaluation", show_default=True, metavar="NAME")
@click.option("--calibration-split", default="calibration", show_default=True, metavar="NAME")
@click.option("--calibration", type=_FOLDER, help="Calibrate on this folder, not on a split.")
@click.option("--quantizer", "quantizers", multiple=True, help="May be given again [all].")
@click.option("--out", type=click.Path(path_type=Path), default=Path("vendors"), show_default=True)
@click.option("--threads", type=_COUNT, default=1, show_default=True)
@click.option("--runs", type=_COUNT, default=200, show_default=True)
@click.option("--rounds", type=_COUNT, default=20, show_default=True)
@click.option("--accuracy/--no-accuracy", default=True, show_default=True)
@click.option("--latency/--no-latency", "timing", default=True, show_default=True)
@json_option
def vendors(
    variant: str,
    weights: str,
    images: Path,
    labels: Path | None,
    split_name: str,
    calibration_split: str,
    calibration: Path | None,
    quantizers: tuple[str, ...],
    out: Path,
    threads: int,
    runs: int,
    rounds: int,
    accuracy: bool,
    timing: bool,
    json_to: str | None,
) -> None:
    """Compare our files with those of the vendors' quantizers: accuracy and latency."""
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.records import Record, Results
    from edge_effnet.benchmarks.reporting.table import render
    from edge_effnet.benchmarks.suite import vendors as suite
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.vendors import VENDORS

    unknown = [name for name in quantizers if name not in VENDORS]
    if unknown:
        raise UsageError(f"unknown quantizer {unknown[0]!r}; choose from {', '.join(VENDORS)}")
    machine = host.describe()  # before: its load must not be our own
    model = load(variant, weights)
    samples = suite.calibration_samples(model, images, labels, calibration_split, calibration)
    files = suite.make_files(model, samples, out, quantizers or tuple(VENDORS), note)
    records: tuple[Record, ...] = ()
    ratios: tuple[suite.Ratio, ...] = ()
    if timing:
        records, ratios = suite.ratios(files, threads, runs, rounds)
    if accuracy:
        chosen = split_name if labels else None
        records = suite.measure_accuracy(files, images, labels, chosen, records)
    results = Results(host=machine, records=records)
    if json_to != "-":
        title = f"{model.variant.name}, {len(samples.pixels)} samples"
        write_table(lambda width: render(results, title, width))
        if ratios:
            write_table(lambda width: suite.ratio_table(ratios, threads))
    if json_to:
        content = json.loads(results.to_json())
        write_json({**content, "ratios": [asdict(item) for item in ratios]}, json_to)


@bench.command("paper-speedups")
@click.option("--formats", default=_FORMATS, show_default=True, metavar="LIST")
@click.option("--precision", type=click.Choice(["fp32", "int8"]), default="fp32", show_default=True)
@click.option("--runs", type=click.IntRange(2), default=20, show_default=True)
@json_option
def paper_speedups(formats: str, precision: str, runs: int, json_to: str | None) -> None:
    """Measure the latency ratios that the papers publish, on one core of this machine."""
    from edge_effnet.benchmarks.suite import paper_speedups as suite
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    names = choose("format", split(formats), RUNNABLE)
    with progress() as report:
        speedups, warnings = suite.measure(suite.PAPER_SPEEDUPS, names, precision, runs, report)
    for warning in warnings:
        note(warning)
    if json_to != "-":
        write(suite.table(speedups))
    if json_to:
        write_json([asdict(item) for item in speedups], json_to)


@bench.command()
@click.argument("file")
@click.option("--video", required=True, metavar="FILE", help="Any video file.")
@click.option("--threads", type=_COUNT, default=2, show_default=True)
@click.option("--rounds", type=_COUNT, default=5, show_default=True)
@click.option("--soak", "frames", type=_COUNT, help="Run a soak test of so many frames instead.")
@json_option
def camera(
    file: str, video: str, threads: int, rounds: int, frames: int | None, json_to: str | None
) -> None:
    """Measure throughput, delay and viewers of the camera app with FILE; prints JSON."""
    from edge_effnet.benchmarks.suite import camera as suite

    if frames is not None:
        content = suite.measure_soak(file, video, threads, frames)
    else:
        content = suite.measure(file, video, threads, rounds)
    write_json(content, json_to or "-")


@bench.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--threads", type=_COUNT, default=1, show_default=True)
@click.option("--runs", type=_COUNT, default=100, show_default=True)
@click.option("--times", type=click.IntRange(2), default=2, show_default=True)
@json_option
def repeatability(
    files: tuple[str, ...], threads: int, runs: int, times: int, json_to: str | None
) -> None:
    """Benchmark FILES several times and count the medians that agree within 5 %."""
    from edge_effnet.benchmarks.suite import repeatability as suite

    with progress() as report:
        pairs, warnings = suite.measure(files, threads, runs, times, report)
    for warning in warnings:
        note(warning)
    if json_to != "-":
        write(suite.sheet(pairs))
    if json_to:
        write_json(suite.as_json(pairs), json_to)


@bench.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--images", required=True, metavar="DIR", help="Photos to evaluate on.")
@click.option("--labels", metavar="CSV", help="Header file,label.")
@click.option("--photos", type=_COUNT, default=400, show_default=True)
@click.option("--workers", type=click.IntRange(2), default=2, show_default=True)
@click.option("--rounds", type=_COUNT, default=3, show_default=True)
@json_option
def scaling(
    files: tuple[str, ...],
    images: str,
    labels: str | None,
    photos: int,
    workers: int,
    rounds: int,
    json_to: str | None,
) -> None:
    """Measure how much faster several processes evaluate FILES than one."""
    from edge_effnet.benchmarks.suite import scaling as suite

    with progress() as report:
        speedup = suite.measure(files, images, labels, photos, workers, rounds, report)
    note("other processes on this machine distort the ratio: run this alone")
    if json_to != "-":
        write(
            f"{workers} processes of one thread: {speedup.ratio:.2f} times as fast as one "
            f"({photos} photos, {len(files)} file(s), {rounds} round(s))\n"
            f"one process of all threads: {speedup.threads_ratio:.2f} times as fast as one thread\n"
        )
    if json_to:
        write_json(speedup.as_json(), json_to)


@bench.command("calibration-sets")
@click.option("--variant", default="lite0", show_default=True)
@click.option("--weights", default="imagenet", show_default=True, help="A checkpoint.")
@click.option("--images", type=_FOLDER, required=True, help="Labelled photos.")
@click.option("--labels", type=_CSV, help="Header file,label.")
@click.option("--sizes", default="32,64,125", show_default=True, metavar="LIST")
@click.option("--subsets", type=_COUNT, default=5, show_default=True)
@click.option("--formats", default=_FORMATS, show_default=True, metavar="LIST")
@click.option("--recipe", default="default", show_default=True)
@click.option(
    "--draw", metavar="PATTERN", help="Draw from photos so named, evaluate on the others."
)
@json_option
def calibration_sets(
    variant: str,
    weights: str,
    images: Path,
    labels: Path | None,
    sizes: str,
    subsets: int,
    formats: str,
    recipe: str,
    draw: str | None,
    json_to: str | None,
) -> None:
    """Measure how much int8 accuracy varies between random sets of calibration photos."""
    from edge_effnet.benchmarks.suite import calibration_sets as suite
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    numbers = [int(size) for size in split(sizes) if size.isdecimal() and int(size)]
    if not numbers or len(numbers) != len(split(sizes)):
        raise UsageError(f"--sizes {sizes!r} are no numbers of photos, as 32,64,125")
    names = choose("format", split(formats), RUNNABLE)
    model = load(variant, weights)
    with progress() as report:
        spreads = suite.measure(
            model,
            images,
            labels,
            sizes=numbers,
            subsets=subsets,
            formats=names,
            recipe=recipe,
            draw=draw,
            progress=report,
        )
    if json_to != "-":
        title = f"{model.variant.name}, {subsets} subsets of each size"
        write_table(lambda width: suite.table(spreads, title))
    if json_to:
        write_json({"spreads": [asdict(spread) for spread in spreads]}, json_to)


@bench.command()
@click.option("--variant", default="lite0", show_default=True)
@click.option("--weights", default="imagenet", show_default=True, help="A checkpoint.")
@click.option("--calibration", required=True, metavar="DIR", help="Photos to calibrate on.")
@click.option("--images", required=True, metavar="DIR", help="Photos to evaluate on.")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", "split_name", metavar="NAME", help="Only the photos of this split.")
@click.option("--formats", default=_FORMATS, show_default=True, metavar="LIST")
@click.option(
    "--steps", default="", metavar="LIST", help="Only these steps, as min-max,gptq [all]."
)
@click.option("--threads", type=_COUNT, help="Default: one a core.")
@json_option
def ablation(
    variant: str,
    weights: str,
    calibration: str,
    images: str,
    labels: str | None,
    split_name: str | None,
    formats: str,
    steps: str,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Measure what each step of quantization adds to int8 accuracy, from min-max up."""
    from edge_effnet.benchmarks.suite import ablation as suite
    from edge_effnet.calibration.samples.photos import read_samples
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    known = {step.name: step for step in suite.STEPS}
    unknown = [name for name in split(steps) if name not in known]
    if unknown:
        raise UsageError(f"there is no step {unknown[0]!r}; choose from {', '.join(known)}")
    names = choose("format", split(formats), RUNNABLE)
    model = load(variant, weights)
    samples = read_samples(calibration, model.info.preprocess)
    with progress() as report:
        results = suite.measure(
            model,
            samples,
            images,
            labels,
            split_name,
            steps=[known[name] for name in split(steps)] or suite.STEPS,
            formats=names,
            threads=threads or 0,
            progress=report,
        )
    if json_to != "-":
        title = f"{model.variant.name}: top-1 agreement with float32 and SQNR of the logits"
        write_table(lambda width: suite.table(results, title))
    if json_to:
        write_json([asdict(step) for step in results], json_to)
