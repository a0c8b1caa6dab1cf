"""Demo of the training: seven classes of crops, from photos to int8 files and the run's page.

The crops of a class come from one or two photos: the accuracy shows only that training works.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edge_effnet.apps.training.exporting import export_run
from edge_effnet.apps.training.run import Run, is_run
from edge_effnet.apps.training.train import train
from edge_effnet.benchmarks.demo.photos import photos, write_crops
from edge_effnet.benchmarks.records import Results, read_results
from edge_effnet.errors import require
from edge_effnet.files import make_folder
from edge_effnet.notices import Notify
from edge_effnet.progress import Progress

VARIANT = "lite0"
#: Classes of the demo -> the photos that are cropped.
CLASSES = {
    "astronaut": ("astronaut.png",),
    "cat": ("chelsea.png",),
    "coffee": ("coffee.png",),
    "flower": ("flower.jpg",),
    "motorcycle": ("motorcycle_left.png", "motorcycle_right.png"),
    "rocket": ("rocket.jpg",),
    "temple": ("china.jpg",),
}
CROPS = 30  # of each class
#: Epochs of fine-tuning, and side of the input in pixels: enough for seven photos, in little time.
EPOCHS, RESOLUTION = 2, 128
_SMALLEST = 0.4  # side of the smallest crop, as a fraction of the photo's short side


@dataclass(frozen=True)
class TrainingOutcome:
    """Results of the training demo.

    Attributes:
        run: The run.
        files: Paths of the exported files.
        results: Accuracy of the files on the test crops.
    """

    run: Run
    files: tuple[Path, ...]
    results: Results


def run(
    out: str | os.PathLike[str], *, threads: int = 0, progress: Progress, notify: Notify
) -> TrainingOutcome:
    """Crop the photos, train Lite0 on the crops, export it, and measure the files.

    Args:
        out: Folder of the results: ``photos``, ``run`` and ``models`` are written into it.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total).
        notify: Called with each sentence for the user.

    Raises:
        EdgeEffNetError: As in `train` and `export_run`.
    """
    for module in ("jinja2", "matplotlib"):  # fail before the work
        require(module, "demo")
    folder = make_folder(out)
    crops = folder / "photos"
    write_class_folders(crops)
    _remove_earlier(folder / "run", crops)
    finished = train(
        crops,
        variant=VARIANT,
        out=folder / "run",
        epochs=EPOCHS,
        resolution=RESOLUTION,
        threads=threads,
        progress=progress,
        notify=notify,
    )
    files = export_run(
        finished,
        finished.model(),
        precisions=["fp32", "int8"],
        calibration=None,
        out=folder / "models",
        overwrite=True,  # only the demo writes to this folder
        threads=threads,
        progress=progress,
        notify=notify,
    )
    return TrainingOutcome(finished, tuple(files), read_results(finished.results_file))


def write_class_folders(folder: Path) -> None:
    """Write `CROPS` crops of each class into a folder per class.

    Raises:
        MissingExtra: A package with photos is not installed.
        OutputError: A file cannot be written.
    """
    by_name = {path.name: path for path in photos()}
    for class_name, names in CLASSES.items():
        crops = make_folder(folder / class_name)
        for name in names:
            write_crops(by_name[name], crops, CROPS // len(names), _SMALLEST, "jpg")


def _remove_earlier(folder: Path, crops: Path) -> None:
    """Remove the run of an earlier demo; a run on other photos is left for `train` to refuse."""
    if is_run(folder) and Path(Run.open(folder).settings.photos).resolve() == crops.resolve():
        shutil.rmtree(folder)
