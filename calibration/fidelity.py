"""The gate: a quantized file that no longer agrees with its float network is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelInfo
from edge_effnet.errors import QuantizationError
from edge_effnet.statistics import wilson

#: A file is refused if even the upper end of the 95 % interval of its agreement lies below this.
LEAST_AGREEMENT = 0.90
#: Least SQNR in dB of logits that no top-1 is drawn from. V2-B0, whose top-1 agreement with float
#: falls to 90 % there, has 9.0 dB (min-max ranges, 1,200 photos).
LEAST_SQNR_DB = 9.0


@dataclass(frozen=True)
class Fidelity:
    """How near quantized logits are to float ones on the same ``samples`` images.

    Attributes:
        agreement: Share of equal top-1 answers; of multi-label networks the mean Jaccard index of
            the two sets of labels; 1 where the outputs are plain numbers.
        sqnr_db: Signal-to-noise ratio of the logits.
        samples: Number of images.
        least_sqnr_db: Lower ratios are refused.
    """

    agreement: float
    sqnr_db: float
    samples: int
    least_sqnr_db: float = -np.inf

    @property
    def agreement_upper(self) -> float:
        """Upper end of the Wilson 95 % interval of the agreement (Wilson 1927)."""
        return wilson(round(self.agreement * self.samples), self.samples)[1]

    @property
    def collapsed(self) -> bool:
        """Whether the gate refuses it."""
        if not np.isfinite(self.sqnr_db) or self.sqnr_db < self.least_sqnr_db:
            return True
        return self.agreement_upper < LEAST_AGREEMENT

    def refusal(self, name: str, variant: str = "", at_fault: str = "") -> QuantizationError:
        """The error with which the file ``name`` is refused; ``at_fault`` are layers in words."""
        layers = (
            f" The layers that cost it most, each alone in int8: {at_fault}; 'edge-effnet analyze "
            f"{variant}' with the same photos ranks all, --max-drop keeps such layers in float."
            if at_fault
            else ""
        )
        return QuantizationError(
            f"{name} was not written: it agrees with its float network on only "
            f"{self.agreement:.1%} of {self.samples} calibration samples (logits "
            f"{self.sqnr_db:.1f} dB).{layers} Calibrate on more photos like those the model will "
            "see, try --recipe best, export --precisions fp16 instead, or write it all the same, "
            "marked, with --force"
        )


def compare(
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    info: ModelInfo | None = None,
) -> Fidelity:
    """Fidelity of ``logits`` to ``reference``, both float32 [samples, classes], samples > 0.

    ``info`` says how the logits answer; without it the largest is the answer.
    """
    noise = float(((reference - logits).astype(np.float64) ** 2).sum())
    signal = float((reference.astype(np.float64) ** 2).sum())
    sqnr = 10 * float(np.log10(signal / max(noise, 1e-30))) if signal > 0 else float("nan")
    least = -np.inf if info is None or info.output_activation == "softmax" else LEAST_SQNR_DB
    same = agreement(reference, logits, info)
    return Fidelity(float(same.mean()), sqnr, len(reference), least)


def agreement(
    reference: NDArray[np.float32], logits: NDArray[np.float32], info: ModelInfo | None
) -> NDArray[np.floating[Any]] | NDArray[np.bool_]:
    """How far each sample's answers agree, 0..1 [samples]: see `Fidelity.agreement`."""
    if info is not None and info.multi_label:
        return jaccard(reference >= 0, logits >= 0)
    if reference.shape[1] == 1:
        return np.ones(len(reference))
    return reference.argmax(axis=1) == logits.argmax(axis=1)


def jaccard(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of two sets of labels a row, bool [n, labels]; 1 if both are empty.

    Jaccard 1901; the "samples" average of multi-label classification.
    """
    union = (first | second).sum(axis=1)
    both = (first & second).sum(axis=1)
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))
