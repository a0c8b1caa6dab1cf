"""Vendor comparison: our files compared with files from the vendors' quantizers.

All files come from the same weights and calibration photos. The comparison covers top-1, top-1
agreement, SQNR, size, and latency ratios to the vendors' files in the same runtime. Some latency
ratios have a limit as target. Vendors whose package is not installed are skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edge_effnet import digest
from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.intervals import round_ratio
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.records import Record
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.samples.photos import Samples, read_samples
from edge_effnet.converters.artifact import file_name
from edge_effnet.converters.export import export
from edge_effnet.converters.options import OURS
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.errors import MissingExtra
from edge_effnet.files import write_bytes
from edge_effnet.formats import RUNNABLE, format_name
from edge_effnet.model import Model
from edge_effnet.names import Precision, QuantizerName

if TYPE_CHECKING:
    from rich.table import Table

#: (format, precision, quantizer) -> file.
Files = dict[tuple[str, str, str], Path]


@dataclass(frozen=True)
class Target:
    """Latency target of one of our files relative to another file of the same format.

    ``limit`` is the largest accepted latency ratio (ours / theirs). If it is None, the ratio is
    only reported.
    """

    format: str
    precision: str
    other: str
    other_precision: str
    limit: float | None = None


TARGETS = (
    Target("tflite", "fp32", "tensorflow", "fp32", 1.02),
    Target("tflite", "int8", "tensorflow", "int8", 1.02),
    Target("tflite", "int8", "ai-edge-quantizer", "int8"),
    Target("tflite", "int8", OURS, "fp32"),
    Target("onnx", "int8", OURS, "fp32", 0.55),
    Target("onnx", "int8", "onnxruntime", "int8", 1.0),
    Target("openvino", "int8", "nncf", "int8", 0.85),
    Target("openvino", "int8", OURS, "fp32"),
)


@dataclass(frozen=True)
class Ratio:
    """Latency ratio (ours / theirs): median and quartiles (``low``, ``high``) over the rounds."""

    target: Target
    ours_ms: float
    theirs_ms: float
    ratio: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """``met`` or ``missed``; empty without a limit."""
        if self.target.limit is None:
            return ""
        return "met" if self.ratio <= self.target.limit else "missed"


def make_files(
    model: Model,
    samples: Samples,
    out: Path,
    quantizers: Sequence[str] = tuple(VENDORS),
    notify: Callable[[str], None] = print,
) -> Files:
    """Write our fp32 and int8 files, each vendor's int8 file, and TensorFlow's fp32 file.

    Args:
        model: The float network.
        samples: Calibration samples, the same for every quantizer.
        out: Folder of the files.
        quantizers: The vendors' quantizers to compare with.
        notify: Called with the time of each quantizer, and with each vendor that is not installed.

    Returns:
        The files by (format, precision, quantizer).
    """
    files: Files = {}

    def timed(quantizer: str, precisions: Sequence[str], write: Callable[[], list[Path]]) -> None:
        start = time.perf_counter()
        try:
            paths = write()
        except MissingExtra as error:
            notify(f"{quantizer} is left out: {error}")
            return
        notify(f"{quantizer} {' and '.join(precisions)}: {time.perf_counter() - start:.1f} s")
        for path in paths:
            (precision,) = [name for name in precisions if f"-{name}" in path.name]
            files[format_name(path), precision, quantizer] = path

    both: tuple[Precision, ...] = ("fp32", "int8")
    timed(
        OURS,
        both,
        partial(export, model, precisions=both, calibration=samples, out=out, overwrite=True),
    )
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
            quantizer=cast("QuantizerName", name),
            overwrite=True,  # only the benchmark writes to this folder
            force=True,  # low agreement of a vendor's file is a valid result
        )
        timed(name, ["int8"], quantize)
    return files


def ratios(
    files: Files, threads: int = 1, runs: int = 200, rounds: int = 20
) -> tuple[tuple[Record, ...], tuple[Ratio, ...]]:
    """Time the files, interleaved within each format, and compute the latency ratios.

    Args:
        files: Result of `make_files`.
        threads: Threads of each file's process.
        runs: Timed inferences of each file.
        rounds: Interleaved rounds that the runs are divided into.

    Returns:
        The latency record of each file, and one ratio per target whose files exist.
    """
    records: dict[str, Record] = {}
    for name in RUNNABLE:
        group = [str(path) for (file_format, _, _), path in files.items() if file_format == name]
        if group:
            timed = measure_latency(group, threads, runs, rounds=rounds)
            records.update((record.file, record) for record in timed)
    compared = []
    for target in TARGETS:
        ours = files.get((target.format, target.precision, OURS))
        theirs = files.get((target.format, target.other_precision, target.other))
        if ours is not None and theirs is not None:
            pair = records[str(ours)], records[str(theirs)]
            if not any(record.error for record in pair):
                compared.append(_ratio(target, *pair))
    return tuple(records.values()), tuple(compared)


def measure_accuracy(
    files: Files,
    images: Path,
    labels: Path | None,
    split: str | None,
    timed: Sequence[Record] = (),
) -> tuple[Record, ...]:
    """Evaluate the files with our fp32 TFLite file as reference; adds latencies from ``timed``."""
    reference = files["tflite", "fp32", OURS]
    evaluation = evaluate(list(files.values()), images, labels, split, reference)
    by_file = {record.file: record for record in timed}
    return tuple(_merged(record, by_file.get(record.file)) for record in evaluation.records)


def calibration_samples(
    model: Model, images: Path, labels: Path | None, split: str, folder: Path | None
) -> Samples:
    """Samples from the photos in ``folder``; if it is None, from a split of the labelled set."""
    if folder is not None:
        return read_samples(folder, model.info.preprocess)
    photos = dataset.load(images, model.info.labels, labels, split).photos
    return read_samples([photo.path for photo in photos], model.info.preprocess)


def _ratio(target: Target, ours: Record, theirs: Record) -> Ratio:
    """Median and quartiles over the rounds of the ratio of the two files' latencies."""
    a, b = (
        float(np.median([np.median(part) for part in np.array_split(each, ours.rounds or 1)]))
        for each in (ours.samples_ms, theirs.samples_ms)
    )
    low, middle, high = round_ratio(ours.samples_ms, theirs.samples_ms, ours.rounds or 1)
    return Ratio(target, a, b, middle, low, high)


def _tensorflow_float(model: Model, out: Path) -> Path:
    """Path of the float32 .tflite file of the same network, written by TensorFlow."""
    from edge_effnet.converters.vendors import tensorflow

    card = model.info.card(precision="fp32")
    data, _ = tensorflow.convert_with_card(fold_batch_norm(model), card)
    ours = Path(file_name(card, "tflite"))
    return write_bytes(out / f"{ours.stem}-tensorflow{ours.suffix}", digest.stamp(data))


def ratio_table(compared: Sequence[Ratio], threads: int) -> Table:
    """The latency ratios for the terminal."""
    from rich import box
    from rich.table import Table

    title = f"latency, ours over theirs, {threads} thread{'s' if threads > 1 else ''}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("ours / theirs")
    for header in ("ours\nms", "theirs\nms", "ratio", "quartiles", "limit", ""):
        table.add_column(header, justify="right", no_wrap=True)
    for item in compared:
        target = item.target
        table.add_row(
            f"{target.format} {target.precision} / {target.other} {target.other_precision}",
            f"{item.ours_ms:.2f}",
            f"{item.theirs_ms:.2f}",
            f"{item.ratio:.3f}",
            f"{item.low:.3f}–{item.high:.3f}",  # noqa: RUF001  (an en dash is meant)
            "" if target.limit is None else f"{target.limit:.2f}",
            item.outcome,
        )
    return table


def _merged(evaluated: Record, timed: Record | None) -> Record:
    if timed is None:
        return evaluated
    return evaluated.with_(
        latency_ms=timed.latency_ms,
        samples_ms=timed.samples_ms,
        rounds=timed.rounds,
        threads=timed.threads,
        cores=timed.cores,
        kernels=timed.kernels,
        error=timed.error,
    )
