"""Settings and result of int8-aware training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import QuantizerPlacement
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.formats import FORMATS

#: 95 % quantile of the standard normal distribution.
_ONE_SIDED = 1.645


@dataclass(frozen=True)
class RefineSettings:
    """Options of int8-aware training.

    Attributes:
        epochs: Passes over the photos.
        batch: Photos per step.
        weight_rate: Adam's learning rate of the weights, in steps of their channel's scale.
        bias_rate: Learning rate of the biases, in quantization steps of their layer's output.
        scale_rate: Learning rate of the logarithms of the activation scales.
        label_weight: Weight of the labels' cross-entropy; the divergence from the float network
            has weight 1. A weight of 0.1 moves the logits so far from the float network's that
            their SQNR on other photos falls (Lite0, flowers: 33.1 -> 32.3 dB).
        seed: Seed of the photos' order and crops.
        threads: Compute threads; 0 is one per core.
        device: PyTorch's name of the device.
    """

    epochs: int = 3
    batch: int = 8
    weight_rate: float = 1e-3
    bias_rate: float = 2e-3
    scale_rate: float = 1e-3
    label_weight: float = 0.02
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Fidelity:
    """Comparison of a plan's logits with the float network's on the held-out photos.

    Attributes:
        losses: Loss of each photo without the labels' term (`loss.photo_losses`), float32 [photos].
        sqnr_db: SQNR of the logits in dB.
        agreement: Fraction of photos with the float network's top-1 prediction.
        top1: Top-1 accuracy, or None without labels.
    """

    losses: NDArray[np.float32] = field(repr=False, compare=False)
    sqnr_db: float
    agreement: float
    top1: float | None = None

    @property
    def loss(self) -> float:
        """Mean loss of the photos."""
        return float(self.losses.mean(dtype=np.float64))

    def improves_on(self, other: Fidelity) -> bool:
        """Whether the loss is lower on photos like these, with 95 % confidence.

        One-sided test of the paired differences' mean. The top-1 accuracy, if there are labels,
        must not be lower.
        """
        change = self.losses.astype(np.float64) - other.losses
        if len(change) < 2:
            return False
        error = float(change.std(ddof=1)) / math.sqrt(len(change))
        lower = float(change.mean()) < -_ONE_SIDED * error
        return lower and (self.top1 or 0.0) >= (other.top1 or 0.0)

    def change_to(self, after: Fidelity) -> str:
        """Text with each figure of this fidelity and of ``after``."""
        changes = [
            f"loss {self.loss:.2g} -> {after.loss:.2g}",
            f"SQNR {self.sqnr_db:.1f} -> {after.sqnr_db:.1f} dB",
            f"agreement {100 * self.agreement:.1f} -> {100 * after.agreement:.1f} %",
        ]
        if self.top1 is not None and after.top1 is not None:
            changes.append(f"top-1 {100 * self.top1:.1f} -> {100 * after.top1:.1f} %")
        return ", ".join(changes)


@dataclass(frozen=True)
class Refinement:
    """Result of int8-aware training.

    Attributes:
        quantized: The trained network, or the given one unless the training improved it.
        before: Fidelity of the given network on the held-out photos, by quantizer placement.
        after: Fidelity of the best trained network.
        epoch: Epoch of the best trained network; 0 if it was not kept.
        reason: Why the trained network was not kept; empty if it was.
    """

    quantized: QuantizedModel
    before: dict[QuantizerPlacement, Fidelity]
    after: dict[QuantizerPlacement, Fidelity]
    epoch: int
    reason: str = ""

    @property
    def improved(self) -> bool:
        """Whether the trained network replaces the given one."""
        return self.epoch > 0

    @property
    def note(self) -> str:
        """The epoch that was kept, or why none was, and the change of the fidelity by format."""
        outcome = f"epoch {self.epoch} was kept" if self.improved else self.reason
        if not self.improved and self.after is self.before:  # there is nothing to compare
            return outcome
        changes = "; ".join(
            f"{FORMATS[name].title}: {before.change_to(self.after[name])}"
            for name, before in self.before.items()
        )
        return f"{outcome}; on the validation photos, from calibration to the best epoch: {changes}"

    def __str__(self) -> str:
        """One sentence: whether the trained network was kept, and its fidelity in each format."""
        outcome = "" if self.improved else "the int8-aware epochs were not kept: "
        return outcome + self.note
