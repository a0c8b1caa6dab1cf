"""Settings of a results table: photos, files to write, and how they are timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edge_effnet import reading
from edge_effnet.benchmarks.accuracy import dataset
from edge_effnet.benchmarks.command_line import command_line
from edge_effnet.benchmarks.sweep.fingerprints import digest
from edge_effnet.benchmarks.sweep.plan import Cell
from edge_effnet.calibration import recipes
from edge_effnet.converters.options import OURS, choose
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.errors import UsageError
from edge_effnet.formats import RUNNABLE
from edge_effnet.names import Precision
from edge_effnet.photo_files import list_images
from edge_effnet.version import VERSION

#: Weights of a cell without a checkpoint (`random_network`): judged by SQNR alone.
RANDOM = "random"
#: Calibration photos and evaluated photos of a network with random weights.
RANDOM_CALIBRATION, RANDOM_PHOTOS = 64, 100
#: Precisions that depend on the recipe, and the others.
QUANTIZED: tuple[Precision, ...] = ("w8", "int8", "mixed")
FLOAT: tuple[Precision, ...] = ("fp32", "fp16")


@dataclass(frozen=True)
class Settings:
    """What to measure, the same for all networks.

    Attributes:
        images: Folder of photos.
        labels: CSV with the label of each photo; None if the folders' names are the labels.
        split: Split of the photos to evaluate on; used with ``labels``.
        calibration_split: Split of the calibration photos; used without ``calibration``.
        calibration: Folder of calibration photos.
        formats: Formats to write.
        precisions: Precisions to write; fp32 is always written.
        recipes: Recipes of the quantized precisions; w8 is written with the first one only.
        quantizers: The vendors' quantizers to compare with.
        timing: Whether to measure latency of networks with trained weights.
        threads: Threads of each timed file.
        runs: Timed inferences of each file.
        rounds: Interleaved rounds that the runs are divided into.
        workers: Processes that evaluate photos, with one thread each; 1 is this process.
    """

    images: str
    labels: str | None = None
    split: str = "evaluation"
    calibration_split: str = "calibration"
    calibration: str | None = None
    formats: tuple[str, ...] = tuple(RUNNABLE)
    precisions: tuple[str, ...] = (*FLOAT, *QUANTIZED)
    recipes: tuple[str, ...] = ("default", "best")
    quantizers: tuple[str, ...] = tuple(VENDORS)
    timing: bool = True
    threads: int = 1
    runs: int = 60
    rounds: int = 30
    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse unknown names, and photos without labels or without a calibration set.

        Raises:
            UsageError: A name is unknown, or labels are missing.
        """
        choose("format", self.formats, RUNNABLE)
        choose("precision", self.precisions, (*FLOAT, *QUANTIZED))
        choose("recipe", self.recipes, [name for name in recipes.RECIPES if name != "fast"])
        if self.quantizers:
            choose("quantizer", self.quantizers, tuple(VENDORS))
        if self.labels is None and self.calibration is None:
            raise UsageError(
                f"which photos in {self.images} are for calibration is unknown: there are no "
                "labels with a split for each photo, and no folder of calibration photos",
                hint="give labels=CSV with the header file,label,split, or calibration=DIR",
            )

    @property
    def evaluated_split(self) -> str | None:
        """The split to evaluate on; None without a CSV."""
        return self.split if self.labels else None

    def photos(self, classes: Sequence[str]) -> dataset.Dataset:
        """The photos to evaluate on.

        Raises:
            UsageError: The photos have no labels.
        """
        photos = dataset.load(self.images, classes, self.labels, self.evaluated_split)
        if not photos.labelled:
            raise UsageError(
                f"the photos in {self.images} have no labels: the loss of accuracy cannot be "
                "measured",
                hint="give labels=CSV, or a folder with a subfolder for each class",
            )
        return photos

    def calibration_photos(self, classes: Sequence[str], cell: Cell) -> list[Path]:
        """The calibration photos of one network."""
        if self.calibration is not None:
            paths = list_images(self.calibration)
        else:
            split = self.calibration_split
            photos = dataset.load(self.images, classes, self.labels, split).photos
            paths = [photo.path for photo in photos]
        return paths[:RANDOM_CALIBRATION] if cell.weights == RANDOM else paths

    def fingerprint(self, photos: Sequence[Path]) -> str:
        """Digest of the names and sizes of ``photos``, of the labels and of the release."""
        labels = None if self.labels is None else reading.sha256(self.labels)[:16]
        listing: list[Any] = [[path.name, path.stat().st_size] for path in photos]
        return digest([VERSION, labels, listing])

    def command(self, cells: Sequence[Cell], out: Path) -> str:
        """The command line that repeats the measurement."""
        defaults = {field.name: field.default for field in fields(self)}

        def unless_default(name: str, value: Any) -> Any:
            return None if getattr(self, name) == defaults[name] else value

        return command_line(
            "bench",
            ["results", *map(_text, cells)],
            images=self.images,
            labels=self.labels,
            split=unless_default("split", self.split),
            calibration_split=unless_default("calibration_split", self.calibration_split),
            calibration=self.calibration,
            formats=unless_default("formats", ",".join(self.formats)),
            precisions=unless_default("precisions", ",".join(self.precisions)),
            recipes=unless_default("recipes", ",".join(self.recipes)),
            quantizer=unless_default("quantizers", self.quantizers or (OURS,)),
            threads=unless_default("threads", self.threads),
            runs=unless_default("runs", self.runs),
            rounds=unless_default("rounds", self.rounds),
            no_latency=not self.timing,
            out=out,
        )  # fmt: skip


def _text(cell: Cell) -> str:
    return cell.name if cell.weights == "imagenet" else f"{cell.name}={cell.weights}"
