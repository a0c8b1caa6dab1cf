"""How much the accuracy of int8 files depends on the photos that they were calibrated on.

    python -m edge_effnet.benchmarks.suite.calibration_sets --variant lite0 --images DIR --labels
    labels.csv

calibrates on random subsets of a labelled set and judges every file on the photos of the set that
are not in its own subset. With ``--draw 'train_*'`` the subsets are of those photos, and all others
judge every file.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import numpy as np

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.records import Record
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.checkpoints import load
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import Progress, progress, write_json
from edge_effnet.converters.export import export
from edge_effnet.errors import EdgeEffNetError, UsageError
from edge_effnet.files import write_text
from edge_effnet.formats import RUNNABLE
from edge_effnet.model import Model

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Spread:
    """Files of one format whose subsets have ``photos`` photos.

    ``agreement`` with float in percent, ``drop`` of top-1 in points and ``sqnr_db`` of the logits,
    one for each subset, over the photos that judge it.
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
    report: Progress | None = None,
) -> tuple[Spread, ...]:
    """The spread of each size and format over ``subsets`` random subsets (seeded).

    ``draw`` is a pattern of names: subsets are drawn of the photos that match, the others judge.

    Raises `UsageError` if the photos have no labels or a subset would leave none to judge on.
    """
    found = dataset.load(images, model.info.labels, labels)
    pool = [photo for photo in found.photos if draw is None or fnmatch(photo.name, draw)]
    fixed = [photo for photo in found.photos if draw is not None and photo not in pool]
    if max(sizes) + (not fixed) > len(pool) or not found.labelled:
        raise UsageError(
            f"{images} has {len(pool)} photos{f' {draw}' if draw else ''}; subsets of {max(sizes)} "
            "need labelled ones and some to judge on: give more photos, or smaller --sizes"
        )
    results: dict[tuple[str, int], list[Record]] = {}
    drawn = [(size, number) for size in sizes for number in range(subsets)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (reference,) = export(model, formats=["onnx"], precisions=["fp32"], out=out)
        for done, (size, number) in enumerate(drawn):
            order = np.random.default_rng([size, number]).permutation(len(pool))
            chosen = [pool[place] for place in sorted(order[:size])]
            samples = read_samples(
                [photo.path for photo in chosen], model.info.preprocess, most=size
            )
            files = export(
                model,
                formats=formats,
                precisions=["int8"],
                calibration=samples,
                recipe=recipe,
                out=out / f"{size}-{number}",
                force=True,  # a collapse is a finding here
                notify=lambda text: None,
            )
            others = fixed or [photo for photo in pool if photo not in chosen]
            truth = write_text(out / f"{size}-{number}.csv", _csv(others))
            judged = evaluate(files, images, truth, reference=reference)
            if judged.photo_set.broken:
                raise UsageError(f"{judged.photo_set.broken[0][1]}: remove broken photos")
            for record in judged.records:
                results.setdefault((record.format, size), []).append(record)
            if report is not None:
                report("subsets", done + 1, len(drawn))
    return tuple(
        Spread(
            name,
            size,
            tuple(100 * cast(float, record.agreement) for record in records),
            tuple(cast(float, record.drop) for record in records),
            tuple(cast(float, record.sqnr_db) for record in records),
        )
        for (name, size), records in results.items()
    )


def _csv(photos: Sequence[dataset.Photo]) -> str:
    """Labels as `dataset.load` reads them."""
    lines = io.StringIO()
    csv.writer(lines).writerows(
        [("file", "label"), *((str(photo.path.resolve()), photo.label) for photo in photos)]
    )
    return lines.getvalue()


def table(spreads: Sequence[Spread], title: str) -> Table:
    """Mean and standard deviation over the subsets, for the terminal."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("photos", "format", "agreement %", "drop, points", "SQNR, dB"):
        made.add_column(header, justify="left" if header == "format" else "right")
    for spread in sorted(spreads, key=lambda item: (item.photos, item.format)):
        cells = [
            f"{np.mean(values):{sign}.2f} ± {np.std(values, ddof=len(values) > 1):.2f}"
            for values, sign in ((spread.agreement, ""), (spread.drop, "+"), (spread.sqnr_db, ""))
        ]
        made.add_row(str(spread.photos), spread.format, *cells)
    return made


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--variant", default="lite0", show_default=True)
@click.option("--weights", default="imagenet", show_default=True, help="A checkpoint.")
@click.option("--images", type=_FOLDER, required=True, help="The labelled photos.")
@click.option("--labels", type=click.Path(exists=True, path_type=Path), help="CSV: file,label.")
@click.option("--sizes", default="32,64,125", show_default=True)
@click.option("--subsets", type=click.IntRange(1), default=5, show_default=True)
@click.option("--formats", default=",".join(RUNNABLE), show_default=True)
@click.option("--recipe", default="default", show_default=True)
@click.option("--draw", help="Draw from the photos with such names, as 'train_*'; others judge.")
@json_option
def main(
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
    """Calibrate on random subsets of labelled photos and say how much accuracy depends on them."""
    from rich.console import Console

    try:
        model = load(variant, weights)
        with progress() as report:
            spreads = measure(
                model,
                images,
                labels,
                sizes=[int(size) for size in sizes.split(",")],
                subsets=subsets,
                formats=formats.split(","),
                recipe=recipe,
                draw=draw,
                report=report,
            )
    except (EdgeEffNetError, ValueError) as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
    if json_to != "-":
        Console().print(table(spreads, f"{model.variant.name}, {subsets} subsets of each size"))
    if json_to:
        write_json({"spreads": [asdict(spread) for spread in spreads]}, json_to)


if __name__ == "__main__":
    main()
