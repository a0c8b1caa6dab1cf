"""Plan of a sweep: networks, formats and precisions to export, and the photos to use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_effnet.benchmarks.command_line import command_line
from edge_effnet.errors import UsageError
from edge_effnet.names import OutputActivation
from edge_effnet.registry import parse_variant
from edge_effnet.runtime.devices.device import CPU

MODELS_NAME = "models"


@dataclass(frozen=True)
class Cell:
    """One network to export: variant, input side (None: the variant's default), checkpoint."""

    variant: str
    side: int | None = None
    weights: str = "imagenet"

    @property
    def name(self) -> str:
        """``efficientnet-lite0@192``."""
        return self.variant if self.side is None else f"{self.variant}@{self.side}"

    @property
    def folder(self) -> str:
        """Subfolder for the cell's files, with the input side, which file names do not contain."""
        return MODELS_NAME if self.side is None else f"{MODELS_NAME}/{self.side}"

    @classmethod
    def parse(cls, text: str, weights: str = "imagenet") -> Cell:
        """The cell of ``VARIANT[@SIDE][=CHECKPOINT]``.

        Args:
            text: The text from the command line.
            weights: The checkpoint to use if ``text`` has none.

        Returns:
            The cell.

        Raises:
            UsageError: ``text`` has another form, or the variant is unknown.
        """
        name, equals, checkpoint = text.partition("=")
        try:
            variant, side = parse_variant(name)
        except UsageError as error:
            if "unknown variant" in str(error):
                raise
            raise UsageError(
                f"{text!r} is not VARIANT[@SIDE][=CHECKPOINT], for example lite0@192=mine.pth"
            ) from None
        if equals and not checkpoint:
            raise UsageError(f"{text!r} names no checkpoint; give one, as {name}=mine.pth")
        return cls(variant.name, side, checkpoint or weights)


@dataclass(frozen=True)
class Plan:
    """Networks, formats and precisions of a sweep.

    Without ``images`` only latency is measured. ``calibration`` is the folder of calibration photos
    for quantized precisions. ``class_names`` is a file with the class names of all networks.
    ``output_activation`` is the activation of their outputs. If either is None, the checkpoint's
    own setting is used. Each file is measured on each of the ``devices`` that can take it;
    ``device_options`` are settings of their drivers.
    """

    cells: tuple[Cell, ...]
    formats: tuple[str, ...] = ("tflite", "onnx", "openvino")
    precisions: tuple[str, ...] = ("fp32", "int8")
    calibration: str | None = None
    images: str | None = None
    labels: str | None = None
    split: str | None = None
    class_names: str | None = None
    output_activation: OutputActivation | None = None
    devices: tuple[str, ...] = (CPU,)
    device_options: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `UsageError` for an invalid plan."""
        if not self.cells:
            raise UsageError(
                "no variant to sweep; give at least one, for example lite0 or v2-b0=mine.keras"
            )
        names: set[str] = set()
        for cell in self.cells:
            if cell.name in names:
                raise UsageError(f"{cell.name} occurs twice; its files would have the same names")
            names.add(cell.name)
        if self.images is None and (self.labels or self.split):
            raise UsageError(
                "labels and split need photos", hint="give images=DIR with labels= and split="
            )

    def command_line(self, out: str | os.PathLike[str], timing: Mapping[str, Any]) -> str:
        """The command that repeats the sweep with the ``threads`` and ``runs`` of ``timing``."""
        cells = [
            cell.name if cell.weights == "imagenet" else f"{cell.name}={cell.weights}"
            for cell in self.cells
        ]
        machine = str(timing.get("device", ""))
        accelerated = self.devices != (CPU,)
        return command_line(
            "sweep",
            cells,
            class_names=self.class_names,
            output_activation=self.output_activation,
            formats=",".join(self.formats),
            precisions=",".join(self.precisions),
            calibration=self.calibration,
            images=self.images,
            labels=self.labels,
            split=self.split,
            threads=timing.get("threads"),
            runs=timing.get("runs"),
            op_times=timing.get("profile"),
            device=self.devices if accelerated else None,
            device_option=self.device_options,
            host=machine if machine.startswith("ssh://") else None,
            out=out,
        )
