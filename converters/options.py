"""Which precisions, ends and weight scales go together: what makes no sense is refused first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_effnet.card import IO, Precision
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.calibration.plan import QuantPlan
    from edge_effnet.calibration.samples.photos import Samples

#: Our own quantizer's name.
OURS = "edge-effnet"


def check_forms(
    formats: Sequence[str],
    precisions: Sequence[Precision],
    io: IO,
    per_tensor: bool,
    quantizer: str,
    max_drop: float | None = None,
) -> None:
    """Raise `UsageError` for a choice that the others leave no room for."""
    if "dynamic" in precisions and "tflite" not in formats:
        raise UsageError("dynamic files are TFLite only: add tflite to --formats")
    others = [precision for precision in precisions if precision in ("w8", "dynamic")]
    if others and quantizer != OURS:
        raise UsageError(f"the quantizer {quantizer} writes int8 only, not {others[0]}")
    if per_tensor and (others or "int8" not in precisions):
        raise UsageError(
            "--per-tensor is a choice for int8 files: give --precisions int8, with fp32 or fp16 "
            "where you want them"
        )
    if per_tensor and quantizer != OURS:
        raise UsageError(f"--per-tensor is for our own quantizer, not {quantizer}: omit it")
    if max_drop is not None:
        if not max_drop > 0:
            raise UsageError(
                f"--max-drop {max_drop:g}: give a number of points above 0, such as 0.5"
            )
        if per_tensor or "int8" not in precisions or quantizer != OURS:
            raise UsageError(
                "--max-drop is a choice for int8 files of our own quantizer, a scale for each "
                "channel: add int8 to --precisions and omit --per-tensor and --quantizer"
            )
    if io == "uint8":
        return
    if "int8" not in precisions:
        raise UsageError(f"--io {io} is a choice for int8 files: add int8 to --precisions")
    if quantizer != OURS:
        raise UsageError(f"the quantizer {quantizer} has an input and output of its own: omit --io")
    if io == "int8" and set(formats) != {"tflite"}:
        raise UsageError("--io int8 is for TFLite only: add --formats tflite")


def check_plan(
    material: Samples | QuantPlan,
    precisions: Sequence[Precision],
    per_tensor: bool,
    max_drop: float | None = None,
) -> None:
    """A plan per tensor belongs to equalized weights, of which it has but the integers."""
    from edge_effnet.calibration.plan import QuantPlan

    if not isinstance(material, QuantPlan):
        return
    if max_drop is not None:
        raise UsageError("this plan is made already: calibrate on photos for --max-drop")
    if per_tensor and not material.per_tensor:
        raise UsageError("this plan has a scale for each channel: calibrate on photos instead")
    if not material.quant_params and "int8" in precisions:
        raise UsageError("this plan rounds weights only: int8 files need one with grids")
    if material.per_tensor and "dynamic" in precisions:
        raise UsageError("a plan per tensor has no float weights for dynamic files: omit those")
