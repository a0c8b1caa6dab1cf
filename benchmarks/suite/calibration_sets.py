"""How much the accuracy of int8 files depends on the photos that they were calibrated on.

    python -m edge_effnet.benchmarks.suite.calibration_sets --variant lite0 --images DIR --labels labels.csv

calibrates on random subsets of a labelled set and judges every file on the photos of the set that
are not in its own subset.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.accuracy.predictions import Predictions
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.checkpoints import load
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import Progress, progress, write_json
from edge_effnet.converters.export import export
from edge_effnet.errors import EdgeEffNetError, UsageError
from edge_effnet.formats import RUNNABLE, format_name
from edge_effnet.model import Model

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Spread:
    """Files of one format whose subsets have ``photos`` photos.

    ``agreement`` with float and ``drop`` of top-1 are shares in percent and points, one for each
    subset, each over the photos that it left.
    """

    format: str
    photos: int
    agreement: tuple[float, ...]
    drop: tuple[float, ...]


def measure(
    model: Model,
    images: Path,
    labels: Path | None,
    *,
    sizes: Sequence[int] = (32, 64, 125),
    subsets: int = 5,
    formats: Sequence[str] = RUNNABLE,
    recipe: str = "default",
    report: Progress | None = None,
) -> tuple[Spread, ...]:
    """The spread of each size and format over ``subsets`` random subsets (seeded).

    Raises `UsageError` if the photos have no labels or a subset would leave none to judge on.
    """
    photos = dataset.load(images, model.card.labels, labels).photos
    if max(sizes) >= len(photos) or photos[0].label is None:
        raise UsageError(
            f"{images} has {len(photos)} photos; subsets of {max(sizes)} need labelled ones and "
            "some to judge on: give more photos, or smaller --sizes"
        )
    drawn = {
        (size, number): np.random.default_rng([size, number]).permutation(len(photos))[:size]
        for size in sizes
        for number in range(subsets)
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (reference,) = export(model, formats=["onnx"], precisions=["fp32"], out=out)
        files: dict[str, tuple[str, int, NDArray[np.intp]]] = {}
        for done, ((size, number), chosen) in enumerate(drawn.items()):
            samples = read_samples(
                [photos[place].path for place in sorted(chosen)], model.card.preprocess, most=size
            )
            made = export(
                model,
                formats=formats,
                precisions=["int8"],
                calibration=samples,
                recipe=recipe,
                out=out / f"{size}-{number}",
                force=True,  # a collapse is a finding here
                notify=lambda text: None,
            )
            files |= {str(path): (format_name(path), size, chosen) for path in made}
            if report is not None:
                report("calibrate", done + 1, len(drawn))
        found = evaluate([*files], images, labels, reference=reference, progress=report)
    if found.photo_set.broken:
        raise UsageError(f"{found.photo_set.broken[0][1]}: remove broken photos from the set")
    truth = cast("NDArray[np.int32]", found.targets)  # labels were asked for above
    results: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for (name, size, chosen), own, other in zip(
        files.values(), found.answers, found.references, strict=True
    ):
        rest = np.setdiff1d(np.arange(len(photos)), chosen)
        mine, theirs = own.indices[rest, 0], cast(Predictions, other).indices[rest, 0]
        drop = (theirs == truth[rest]).mean() - (mine == truth[rest]).mean()
        results.setdefault((name, size), []).append((100 * (mine == theirs).mean(), 100 * drop))
    return tuple(
        Spread(name, size, *(tuple(map(float, values)) for values in zip(*pairs, strict=True)))
        for (name, size), pairs in results.items()
    )


def table(spreads: Sequence[Spread], title: str) -> Table:
    """Mean and standard deviation over the subsets, for the terminal."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("photos", "format", "agreement %", "drop, points"):
        made.add_column(header, justify="left" if header == "format" else "right")
    for spread in sorted(spreads, key=lambda item: (item.photos, item.format)):
        cells = [
            f"{np.mean(values):{sign}.2f} ± {np.std(values, ddof=len(values) > 1):.2f}"
            for values, sign in ((spread.agreement, ""), (spread.drop, "+"))
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
