"""``edge-effnet bench``: the project's own benchmarks, one subcommand each."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from edge_effnet.commands.bench_calibration import calibration_cost
from edge_effnet.commands.bench_results import results
from edge_effnet.commands.bench_training import training
from edge_effnet.commands.command import Group
from edge_effnet.commands.options import items, json_option, threads_option
from edge_effnet.commands.terminal import note, progress, write, write_json, write_table
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError


@click.group(
    cls=Group,
    examples=[
        "bench vendors --images photos/ --labels labels.csv",
        "bench repeatability out/ --times 3",
    ],
)
def bench() -> None:
    """Run the project's own benchmarks.

    Each benchmark is a subcommand. Run it on an idle machine.
    """


@bench.command(
    examples=[
        "bench vendors --images photos/ --labels labels.csv",
        "bench vendors --images photos/ --quantizer nncf --no-accuracy",
    ]
)
@option("--variant", default="lite0")
@option("--weights", default="imagenet")
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--split", default="evaluation")
@option("--calibration-split", default="calibration")
@option("--calibration", shown="the calibration split")
@option("--quantizer", multiple=True, shown="all")
@option("--out", default="vendors")
@threads_option(1)
@option("--runs", default=200)
@option("--rounds", default=20)
@option("--accuracy/--no-accuracy", default=True)
@option("--latency/--no-latency", default=True)
@json_option
def vendors(
    variant: str,
    weights: str,
    images: str,
    labels: str | None,
    split: str,
    calibration_split: str,
    calibration: str | None,
    quantizer: tuple[str, ...],
    out: str,
    threads: int,
    runs: int,
    rounds: int,
    accuracy: bool,
    timing: bool,
    json_to: str | None,
) -> None:
    """Compare with the vendors' quantizers.

    Measures accuracy and latency of our files and the vendors' files, made from the same weights
    and photos.
    """
    from edge_effnet.benchmarks.latency import host
    from edge_effnet.benchmarks.records import Record, Results
    from edge_effnet.benchmarks.reporting.table import render
    from edge_effnet.benchmarks.suite import vendors as suite
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.vendors import VENDORS

    folder, table = Path(images), _path(labels)
    wanted = [name for name in quantizer if name in VENDORS]
    machine = host.describe()  # before the benchmark adds load
    model = load(variant, weights)
    samples = suite.calibration_samples(model, folder, table, calibration_split, _path(calibration))
    files = suite.make_files(model, samples, Path(out), wanted or tuple(VENDORS), note)
    records: tuple[Record, ...] = ()
    ratios: tuple[suite.Ratio, ...] = ()
    if timing:
        records, ratios = suite.ratios(files, threads, runs, rounds)
    if accuracy:
        chosen = split if labels else None
        records = suite.measure_accuracy(files, folder, table, chosen, records)
    results = Results(host=machine, records=records)
    if json_to != "-":
        title = f"{model.variant.name}, {len(samples.pixels)} samples"
        write_table(lambda width: render(results, title, width))
        if ratios:
            write_table(lambda width: suite.ratio_table(ratios, threads))
    if json_to:
        content = json.loads(results.to_json())
        write_json({**content, "ratios": [asdict(item) for item in ratios]}, json_to)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


@bench.command(
    "paper-speedups",
    examples=["bench paper-speedups", "bench paper-speedups --formats onnx --precision int8"],
)
@option("--formats", default="tflite,onnx,openvino")
@option("--precision", default="fp32")
@option("--runs", default=20)
@json_option
def paper_speedups(formats: str, precision: str, runs: int, json_to: str | None) -> None:
    """Measure the latency ratios of the papers.

    Runs on one core of this machine, in fp32 or int8.
    """
    from edge_effnet.benchmarks.suite import paper_speedups as suite
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    names = choose("format", items(formats), RUNNABLE)
    if precision not in ("fp32", "int8"):
        raise UsageError(f"the papers' ratios are measured in fp32 or int8, not {precision}")
    with progress() as report:
        speedups, warnings = suite.measure(suite.PAPER_SPEEDUPS, names, precision, runs, report)
    for warning in warnings:
        note(warning)
    if json_to != "-":
        write(suite.table(speedups))
    if json_to:
        write_json([asdict(item) for item in speedups], json_to)


@bench.command(
    examples=[
        "bench camera lite0-int8.tflite --video street.mp4",
        "bench camera lite0-int8.tflite --video street.mp4 --soak 5000",
    ]
)
@click.argument("file")
@option("--video", required=True)
@threads_option(2)
@option("--rounds", default=5)
@option("--soak")
@json_option
def camera(
    file: str, video: str, threads: int, rounds: int, frames: int | None, json_to: str | None
) -> None:
    """Measure throughput and delay of the camera app.

    Also measures the effect of viewers of the preview page. Prints JSON.
    """
    from edge_effnet.benchmarks.suite import camera as suite

    if frames is not None:
        content = suite.measure_soak(file, video, threads, frames)
    else:
        content = suite.measure(file, video, threads, rounds)
    write_json(content, json_to or "-")


@bench.command(
    examples=[
        "bench repeatability out/efficientnet-lite0-int8.tflite",
        "bench repeatability out/ --times 3 --runs 200",
    ]
)
@click.argument("files", nargs=-1, required=True)
@threads_option(1)
@option("--runs", default=100)
@option("--times", default=2)
@json_option
def repeatability(
    files: tuple[str, ...], threads: int, runs: int, times: int, json_to: str | None
) -> None:
    """Benchmark files repeatedly and compare the medians.

    Counts the medians that agree within 5 %.
    """
    from edge_effnet.benchmarks.suite import repeatability as suite

    with progress() as report:
        pairs, warnings = suite.measure(files, threads, runs, times, report)
    for warning in warnings:
        note(warning)
    if json_to != "-":
        write(suite.sheet(pairs))
    if json_to:
        write_json(suite.as_json(pairs), json_to)


@bench.command(
    examples=[
        "bench scaling lite0-int8.tflite --images photos/",
        "bench scaling out/*int8* --images photos/ --workers 4",
    ]
)
@click.argument("files", nargs=-1, required=True)
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--photos", default=400)
@option("--workers", default=2)
@option("--rounds", default=3)
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
    """Measure the speed-up of evaluating in processes.

    Compares several single-threaded processes with one.
    """
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


@bench.command(
    "calibration-sets",
    examples=[
        "bench calibration-sets --images photos/",
        "bench calibration-sets --images photos/ --set-sizes 50,100",
    ],
)
@option("--variant", default="lite0")
@option("--weights", default="imagenet")
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--set-sizes", default="32,64,125")
@option("--subsets", default=5)
@option("--formats", default="tflite,onnx,openvino")
@option("--recipe", default="default")
@option("--draw", shown="any photos")
@json_option
def calibration_sets(
    variant: str,
    weights: str,
    images: str,
    labels: str | None,
    set_sizes: str,
    subsets: int,
    formats: str,
    recipe: str,
    draw: str | None,
    json_to: str | None,
) -> None:
    """Measure int8 accuracy over calibration sets.

    Reports the variation between random sets of calibration photos.
    """
    from edge_effnet.benchmarks.suite import calibration_sets as suite
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    numbers = [int(size) for size in items(set_sizes) if size.isdecimal() and int(size)]
    if not numbers or len(numbers) != len(items(set_sizes)):
        raise UsageError(f"--set-sizes {set_sizes!r} are no numbers of photos, as 32,64,125")
    names = choose("format", items(formats), RUNNABLE)
    model = load(variant, weights)
    with progress() as report:
        spreads = suite.measure(
            model,
            Path(images),
            _path(labels),
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


@bench.command(
    examples=[
        "bench ablation --calibration photos/ --images test/",
        "bench ablation --calibration photos/ --images test/ --steps gptq",
    ]
)
@option("--variant", default="lite0")
@option("--weights", default="imagenet")
@option("--calibration", required=True)
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--split", shown="all photos")
@option("--formats", default="tflite,onnx,openvino")
@option("--steps", default="", shown="all")
@threads_option()
@json_option
def ablation(
    variant: str,
    weights: str,
    calibration: str,
    images: str,
    labels: str | None,
    split: str | None,
    formats: str,
    steps: str,
    threads: int | None,
    json_to: str | None,
) -> None:
    """Measure what each step of quantization adds.

    Reports int8 accuracy, from min-max ranges to the full recipe.
    """
    from edge_effnet.benchmarks.suite import ablation as suite
    from edge_effnet.calibration.samples.photos import read_samples
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    known = {step.name: step for step in suite.STEPS}
    unknown = [name for name in items(steps) if name not in known]
    if unknown:
        raise UsageError(f"there is no step {unknown[0]!r}; choose from {', '.join(known)}")
    names = choose("format", items(formats), RUNNABLE)
    model = load(variant, weights)
    samples = read_samples(calibration, model.info.preprocess)
    with progress() as report:
        results = suite.measure(
            model,
            samples,
            images,
            labels,
            split,
            steps=[known[name] for name in items(steps)] or suite.STEPS,
            formats=names,
            threads=threads or 0,
            progress=report,
        )
    if json_to != "-":
        title = f"{model.variant.name}: top-1 agreement with float32 and SQNR of the logits"
        write_table(lambda width: suite.table(results, title))
    if json_to:
        write_json([asdict(step) for step in results], json_to)


bench.add_command(calibration_cost)
bench.add_command(results)
bench.add_command(training)
