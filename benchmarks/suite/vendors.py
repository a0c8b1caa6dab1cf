"""Our files beside the vendors' quantizers', from the same weights and photos, in one command.

    python -m edge_effnet.benchmarks.suite.vendors --variant lite0 --images DIR --labels labels.csv

prints accuracy (top-1, agreement with float32, SQNR, size) of each file, and the ratios of latency
that our files must keep to the vendors' in the same runtime. A vendor that is not installed is
left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edge_effnet import digest
from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.latency import host, measure
from edge_effnet.benchmarks.records import Record, Results
from edge_effnet.calibration.samples.photos import Samples, read_samples
from edge_effnet.checkpoints import load
from edge_effnet.converters.export import export, file_name
from edge_effnet.converters.options import OURS
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.errors import EdgeEffNetError, MissingExtra
from edge_effnet.files import write_bytes, write_text
from edge_effnet.formats import RUNNABLE, format_name
from edge_effnet.model import Model, fold_batch_norm

if TYPE_CHECKING:
    from rich.table import Table

#: (format, precision, who made it) -> file.
Files = dict[tuple[str, str, str], Path]


@dataclass(frozen=True)
class Bar:
    """One of our files against another of the same format; ``limit`` is the ratio to keep below."""

    format: str
    precision: str
    other: str
    other_precision: str
    limit: float | None = None


BARS = (
    Bar("tflite", "fp32", "tensorflow", "fp32", 1.02),
    Bar("tflite", "int8", "tensorflow", "int8", 1.02),
    Bar("tflite", "int8", "ai-edge-quantizer", "int8"),
    Bar("tflite", "int8", OURS, "fp32"),
    Bar("onnx", "int8", OURS, "fp32", 0.55),
    Bar("onnx", "int8", "onnxruntime", "int8", 1.0),
    Bar("openvino", "int8", "nncf", "int8", 0.85),
    Bar("openvino", "int8", OURS, "fp32"),
)


@dataclass(frozen=True)
class Ratio:
    """Latency of ours over theirs: the median over the rounds, and the quartiles' range."""

    bar: Bar
    ours_ms: float
    theirs_ms: float
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the bar is kept; empty where there is none."""
        if self.bar.limit is None:
            return ""
        return "kept" if self.ratio <= self.bar.limit else "missed"


def make_files(
    model: Model,
    samples: Samples,
    out: Path,
    quantizers: Sequence[str] = tuple(VENDORS),
    say: Callable[[str], None] = print,
) -> Files:
    """Write ours in every format, fp32 and int8, each vendor's int8, and TensorFlow's fp32.

    ``say`` is told how long each took, and which vendors are not installed.
    """
    files: Files = {}

    def timed(who: str, precisions: Sequence[str], make: Callable[[], list[Path]]) -> None:
        begin = time.perf_counter()
        try:
            made = make()
        except MissingExtra as error:
            say(f"{who} is left out: {error}")
            return
        say(f"{who} {' and '.join(precisions)}: {time.perf_counter() - begin:.1f} s")
        for path in made:
            (precision,) = [name for name in precisions if f"-{name}" in path.name]
            files[format_name(path), precision, who] = path

    both = ("fp32", "int8")
    timed(OURS, both, partial(export, model, precisions=both, calibration=samples, out=out))
    for name in quantizers:
        if name == "tensorflow":
            timed(name, ["fp32"], lambda: [_tensorflow_float(model, out)])
        quantize = partial(
            export,
            model,
            formats=[VENDORS[name].format],
            precisions=["int8"],
            calibration=samples,
            out=out,
            quantizer=name,
            force=True,  # a peer that collapses is a finding, not an error
        )
        timed(name, ["int8"], quantize)
    return files


def ratios(
    files: Files, threads: int = 1, runs: int = 200, rounds: int = 20
) -> tuple[tuple[Record, ...], tuple[Ratio, ...]]:
    """Time the files of `BARS`, one run a format, and compare them: (records, ratios)."""
    records: dict[str, Record] = {}
    for name in RUNNABLE:
        group = [str(path) for (format_name, _, _), path in files.items() if format_name == name]
        if group:
            measured = measure.measure(group, threads, runs, rounds=rounds)
            records.update((record.file, record) for record in measured)
    found = []
    for bar in BARS:
        ours = files.get((bar.format, bar.precision, OURS))
        theirs = files.get((bar.format, bar.other_precision, bar.other))
        if ours is not None and theirs is not None:
            pair = records[str(ours)], records[str(theirs)]
            if not any(record.error for record in pair):
                found.append(_ratio(bar, *pair))
    return tuple(records.values()), tuple(found)


def _ratio(bar: Bar, ours: Record, theirs: Record) -> Ratio:
    """Round by round, for a round of one file follows that of the other: noise passes both."""
    a, b = (
        np.array([np.median(part) for part in np.array_split(file.samples_ms, file.rounds or 1)])
        for file in (ours, theirs)
    )
    low, middle, high = (float(value) for value in np.quantile(a / b, (0.25, 0.5, 0.75)))
    return Ratio(bar, float(np.median(a)), float(np.median(b)), middle, low, high)


def _tensorflow_float(model: Model, out: Path) -> Path:
    """TensorFlow's float32 file of the same network."""
    from edge_effnet.converters.vendors import tensorflow

    card = replace(model.card, precision="fp32")
    data, _ = tensorflow.convert_with_card(fold_batch_norm(model), card)
    ours = Path(file_name(card, "tflite"))
    return write_bytes(out / f"{ours.stem}-tensorflow{ours.suffix}", digest.stamp(data))


def ratio_table(found: Sequence[Ratio], threads: int) -> Table:
    """The ratios for the terminal."""
    from rich import box
    from rich.table import Table

    title = f"latency, ours over theirs, {threads} thread{'s' if threads > 1 else ''}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("ours / theirs")
    for header in ("ours\nms", "theirs\nms", "ratio", "quartiles", "bar", ""):
        table.add_column(header, justify="right", no_wrap=True)
    for item in found:
        bar = item.bar
        table.add_row(
            f"{bar.format} {bar.precision} / {bar.other} {bar.other_precision}",
            f"{item.ours_ms:.2f}",
            f"{item.theirs_ms:.2f}",
            f"{item.ratio:.3f}",
            f"{item.low:.3f}–{item.high:.3f}",  # noqa: RUF001  (an en dash is meant)
            "" if bar.limit is None else f"{bar.limit:.2f}",
            item.verdict,
        )
    return table


def _samples(
    model: Model, images: Path, labels: Path | None, split: str, folder: Path | None
) -> Samples:
    if folder is not None:
        return read_samples(folder, model.card.preprocess)
    photos = dataset.load(images, model.card.labels, labels, split).photos
    return read_samples([photo.path for photo in photos], model.card.preprocess)


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--variant", default="lite0", show_default=True)
@click.option("--weights", default="imagenet", show_default=True, help="A checkpoint.")
@click.option("--images", type=_FOLDER, required=True, help="The labelled photos.")
@click.option(
    "--labels", type=click.Path(exists=True, path_type=Path), help="CSV: file,label,split."
)
@click.option("--split", default="evaluation", show_default=True, help="Split to evaluate on.")
@click.option("--calibration-split", default="calibration", show_default=True)
@click.option("--calibration", type=_FOLDER, help="Calibrate on this folder, not on a split.")
@click.option("--quantizer", "quantizers", multiple=True, type=click.Choice(tuple(VENDORS)))
@click.option("--out", type=click.Path(path_type=Path), default=Path("peers"), show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--runs", default=200, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--accuracy/--no-accuracy", default=True, show_default=True)
@click.option("--latency/--no-latency", "timing", default=True, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures here.")
def main(
    variant: str,
    weights: str,
    images: Path,
    labels: Path | None,
    split: str,
    calibration_split: str,
    calibration: Path | None,
    quantizers: tuple[str, ...],
    out: Path,
    threads: int,
    runs: int,
    rounds: int,
    accuracy: bool,
    timing: bool,
    report: Path | None,
) -> None:
    """Compare our files with the vendors' quantizers'."""
    from rich.console import Console

    from edge_effnet.benchmarks.reporting.table import render

    console = Console()
    try:
        machine = host.describe()
        model = load(variant, weights)
        samples = _samples(model, images, labels, calibration_split, calibration)
        files = make_files(model, samples, out, quantizers or tuple(VENDORS), click.echo)
        records: tuple[Record, ...] = ()
        found: tuple[Ratio, ...] = ()
        if timing:
            records, found = ratios(files, threads, runs, rounds)
        if accuracy:
            reference = files["tflite", "fp32", OURS]
            paths = list(files.values())
            judged = evaluate(paths, images, labels, split if labels else None, reference).records
            times = {record.file: record for record in records}
            records = tuple(_merged(record, times.get(record.file)) for record in judged)
        results = Results(host=machine, records=records)
        console.print(render(results, f"{model.variant.name}, {len(samples.pixels)} samples"))
        if found:
            console.print(ratio_table(found, threads))
        if report is not None:
            content = json.loads(results.to_json()) | {"ratios": [asdict(item) for item in found]}
            write_text(report, json.dumps(content, indent=1) + "\n")
    except EdgeEffNetError as error:
        raise SystemExit(_fail(str(error))) from None


def _merged(judged: Record, timed: Record | None) -> Record:
    if timed is None:
        return judged
    return judged.with_(
        latency_ms=timed.latency_ms,
        samples_ms=timed.samples_ms,
        rounds=timed.rounds,
        threads=timed.threads,
        cores=timed.cores,
        kernels=timed.kernels,
        error=timed.error,
    )


def _fail(message: str) -> int:
    click.echo(f"error: {message}", err=True)
    return 2


if __name__ == "__main__":
    main()
