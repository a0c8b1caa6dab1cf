"""Fidelity check: a quantized file that disagrees with its float network is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import QuantizationError
from edge_effnet.statistics import wilson

#: A file is refused if the upper end of the 95 % interval of its top-1 agreement is below this.
LEAST_AGREEMENT = 0.90


@dataclass(frozen=True)
class Fidelity:
    """Comparison of quantized with float logits.

    Attributes:
        agreement: Top-1 agreement, the fraction of equal predictions.
        sqnr_db: SQNR of the logits in dB.
        samples: Number of images compared.
    """

    agreement: float
    sqnr_db: float
    samples: int

    @property
    def agreement_upper(self) -> float:
        """Upper end of the Wilson 95 % interval of the top-1 agreement (Wilson 1927)."""
        return wilson(round(self.agreement * self.samples), self.samples)[1]

    @property
    def collapsed(self) -> bool:
        """Whether the fidelity check refuses the file."""
        return not np.isfinite(self.sqnr_db) or self.agreement_upper < LEAST_AGREEMENT

    def refusal(self, name: str, variant: str = "", at_fault: str = "") -> QuantizationError:
        """The error that refuses a file.

        Args:
            name: The file.
            variant: Its variant, for the command that analyzes it.
            at_fault: The layers with the most noise, as text.
        """
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


def compare(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> Fidelity:
    """Compare quantized with float logits.

    Args:
        reference: Float logits [samples, classes], at least one sample.
        logits: Quantized logits, alike.

    Returns:
        Their fidelity; ``sqnr_db`` is NaN for NaN logits or a reference of zeros.
    """
    noise = float(((reference - logits).astype(np.float64) ** 2).sum())
    signal = float((reference.astype(np.float64) ** 2).sum())
    same = reference.argmax(axis=1) == logits.argmax(axis=1)
    return Fidelity(float(same.mean()), sqnr_db(noise, signal), len(reference))


def sqnr_db(noise: float, signal: float = 1.0) -> float:
    """Signal-to-quantization-noise ratio of two energies in dB.

    Args:
        noise: Energy of the error.
        signal: Energy of the reference; by default ``noise`` is relative to it.

    Returns:
        At most 300, which stands for no noise; NaN without a signal or for NaN noise.
    """
    if signal <= 0:
        return float("nan")
    return -10 * float(np.log10(max(noise / signal, 1e-30)))
