"""Keys of a sweep's tasks, with digests of everything that a task's result depends on.

A changed setting changes only the keys of the tasks that depend on it. All other results in the
journal remain valid.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_effnet import reading
from edge_effnet.benchmarks.accuracy.dataset import NO_LABELS
from edge_effnet.benchmarks.sweep.plan import Cell, Plan
from edge_effnet.card import ModelInfo
from edge_effnet.errors import UsageError
from edge_effnet.formats import companion_path
from edge_effnet.names import Precision
from edge_effnet.photo_files import list_images
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.version import VERSION

#: Precisions that need no calibration photos.
_FLOAT: tuple[Precision, ...] = ("fp32", "fp16")


class Fingerprints:
    """Keys of the tasks of one plan."""

    def __init__(
        self, plan: Plan, networks: Mapping[str, ModelInfo], timing: Mapping[str, Any]
    ) -> None:
        """Read the photo lists and the labels.

        Args:
            plan: The plan.
            networks: Description of each cell's network, by `Cell.name`.
            timing: Settings of the latency measurement.

        Raises:
            ImageError: A folder has no photos.
            UsageError: The labels cannot be read.
        """
        quantized = any(precision not in _FLOAT for precision in plan.precisions)
        calibration = _listing(plan.calibration) if plan.calibration and quantized else None
        shared = [VERSION, plan.formats, plan.precisions, calibration]
        self._exports = {
            name: digest([*shared, asdict(network)]) for name, network in networks.items()
        }
        self._photos: list[Any] = [
            plan.images and _listing(plan.images),
            _labels(plan.labels),
            plan.split,
        ]
        self._timing: list[Any] = [VERSION, dict(timing)]
        if plan.devices != (CPU,):  # journals of older releases stay valid for the CPU
            devices = [plan.devices, dict(plan.device_options)]
            self._photos.append(devices)
            self._timing.append(devices)

    def export(self, cell: Cell) -> str:
        """Key of the export of ``cell``: depends on network, formats and calibration photos."""
        return f"export {cell.name}={cell.weights} {self._exports[cell.name]}"

    def accuracy(self, cell: Cell, start: int, files: Sequence[Sequence[Any]]) -> str:
        """Key of the predictions from photo ``start``: depends on the files and the photos."""
        return f"accuracy {cell.name}={cell.weights} {start} {digest([files, self._photos])}"

    def latency(self, cell: Cell, files: Sequence[Sequence[Any]]) -> str:
        """Key of the latency of a cell's files: depends on the files and the timing settings."""
        return f"latency {cell.name}={cell.weights} {digest([files, self._timing])}"


def digest(content: Any) -> str:
    """Digest of plain data, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str | None:
    """Digest of a model file and its companion; None if one is missing."""
    content = hashlib.sha256()
    for part in (path, companion_path(path)):
        if part is not None:
            try:
                reading.update_digest(content, part)
            except OSError:
                return None
    return content.hexdigest()[:16]


def _labels(table: str | os.PathLike[str] | None) -> str | None:
    """Digest of the labels CSV; `NO_LABELS` and None unchanged."""
    if table is None or os.fspath(table) == NO_LABELS:
        return None if table is None else NO_LABELS
    try:
        return reading.sha256(table)[:16]
    except OSError as error:
        raise UsageError(f"cannot read the labels {table}: {error.strerror}") from error


def _listing(folder: str) -> str:
    """Number of photos in ``folder`` and a digest of their names and sizes.

    Raises:
        ImageError: The folder has no photos.
    """
    photos = list_images(folder)
    names = [f"{path.relative_to(folder)} {_size(path)}" for path in photos]
    return f"{len(photos)} photos, {digest(names)}"


def _size(path: Path) -> int:
    """Bytes of a file; 0 for a broken link."""
    return path.stat().st_size if path.exists() else 0
