"""Calibration-set variance: accuracy of int8 files over random sets of calibration photos.

The network is calibrated on random subsets of a labelled set. Each file is evaluated on the photos
outside its calibration subset. If subsets are drawn from part of the photos only, the other part
evaluates all files.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.records import Record
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.converters.export import export
from edge_effnet.errors import UsageError
from edge_effnet.files import write_text
from edge_effnet.formats import RUNNABLE
from edge_effnet.model import Model
from edge_effnet.names import FormatName, RecipeName
from edge_effnet.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Spread:
    """Accuracy of one format's files, each calibrated on a different subset of ``photos`` photos.

    Each tuple has one value per subset. ``agreement``: percentage of photos with the float32 file's
    top-1 class. ``drop``: loss of top-1 in percentage points. ``sqnr_db``: SQNR of the logits.
    """

    format: str
    photos: int
    agreement: tuple[float, ...]
    drop: tuple[float, ...]
    sqnr_db: tuple[float, ...]


def measure(
    model: Model,
    images: Path,
    labels: Path | None,
    *,
    sizes: Sequence[int] = (32, 64, 125),
    subsets: int = 5,
    formats: Sequence[str] = RUNNABLE,
    recipe: str = "default",
    draw: str | None = None,
    progress: Progress | None = None,
) -> tuple[Spread, ...]:
    """Calibrate ``model`` on random subsets of photos and evaluate each file on other photos.

    Args:
        model: The float network.
        images: Folder of labelled photos.
        labels: CSV of their labels; None for a folder per class.
        sizes: Subset sizes in photos.
        subsets: Number of subsets of each size (seeded).
        formats: Formats to write.
        recipe: Recipe of the calibration.
        draw: Pattern of file names. Subsets are drawn from the matching photos; all other photos
            evaluate every file.
        progress: Called after each subset.

    Returns:
        One entry for each format and size.

    Raises:
        UsageError: The photos have no labels, or a subset would leave none to evaluate on.
    """
    photos = dataset.load(images, model.info.labels, labels)
    candidates = [photo for photo in photos.photos if draw is None or fnmatch(photo.name, draw)]
    fixed = [photo for photo in photos.photos if draw is not None and photo not in candidates]
    if max(sizes) + (not fixed) > len(candidates) or not photos.labelled:
        raise UsageError(
            f"{images} has {len(candidates)} photos{f' {draw}' if draw else ''}; subsets of "
            f"{max(sizes)} need labels and further photos to evaluate on: give more photos, or "
            "smaller subsets"
        )
    records: dict[tuple[str, int], list[Record]] = {}
    drawn = [(size, number) for size in sizes for number in range(subsets)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (reference,) = export(model, formats=["onnx"], precisions=["fp32"], out=out, progress=False)
        for done, (size, number) in enumerate(drawn, start=1):
            order = np.random.default_rng([size, number]).permutation(len(candidates))
            subset = [candidates[index] for index in sorted(order[:size])]
            files = export(
                model,
                formats=cast("Sequence[FormatName]", formats),
                precisions=["int8"],
                calibration=read_samples(
                    [photo.path for photo in subset], model.info.preprocess, most=size
                ),
                recipe=cast("RecipeName", recipe),
                out=out / f"{size}-{number}",
                force=True,  # low agreement is a valid result here
                progress=False,
                notify=lambda text: None,
            )
            others = fixed or [photo for photo in candidates if photo not in subset]
            truth = write_text(out / f"{size}-{number}.csv", _csv(others))
            evaluation = evaluate(files, images, truth, reference=reference)
            if evaluation.photo_set.broken:
                raise UsageError(f"{evaluation.photo_set.broken[0][1]}: remove broken photos")
            for record in evaluation.records:
                records.setdefault((record.format, size), []).append(record)
            if progress is not None:
                progress("quantize and evaluate subsets", done, len(drawn))
    return tuple(
        Spread(
            name,
            size,
            tuple(100 * cast(float, record.agreement) for record in group),
            tuple(cast(float, record.drop) for record in group),
            tuple(cast(float, record.sqnr_db) for record in group),
        )
        for (name, size), group in records.items()
    )


def table(spreads: Sequence[Spread], title: str) -> Table:
    """Mean and standard deviation over the subsets, for the terminal."""
    from rich import box
    from rich.table import Table

    rich_table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("photos", "format", "agreement %", "drop, points", "SQNR, dB"):
        rich_table.add_column(header, justify="left" if header == "format" else "right")
    for spread in sorted(spreads, key=lambda item: (item.photos, item.format)):
        cells = [
            f"{np.mean(values):{sign}.2f} ± {np.std(values, ddof=len(values) > 1):.2f}"
            for values, sign in ((spread.agreement, ""), (spread.drop, "+"), (spread.sqnr_db, ""))
        ]
        rich_table.add_row(str(spread.photos), spread.format, *cells)
    return rich_table


def _csv(photos: Sequence[dataset.Photo]) -> str:
    """Labels of ``photos`` as a CSV that `dataset.load` reads."""
    text = io.StringIO()
    csv.writer(text).writerows(
        [("file", "label"), *((str(photo.path.resolve()), photo.label) for photo in photos)]
    )
    return text.getvalue()
