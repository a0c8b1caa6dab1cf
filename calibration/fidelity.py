"""The gate: a quantized file that no longer agrees with its float network is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import QuantizationError
from edge_effnet.statistics import wilson

#: A file is refused if even the upper end of the 95 % interval of its agreement lies below this.
LEAST_AGREEMENT = 0.90


@dataclass(frozen=True)
class Fidelity:
    """How near quantized logits are to float ones on the same ``samples`` images.

    ``agreement`` is the share of equal top-1 answers, ``sqnr_db`` the signal-to-noise ratio of the
    logits.
    """

    agreement: float
    sqnr_db: float
    samples: int

    @property
    def agreement_upper(self) -> float:
        """Upper end of the Wilson 95 % interval of the agreement (Wilson 1927)."""
        return wilson(round(self.agreement * self.samples), self.samples)[1]

    @property
    def collapsed(self) -> bool:
        """Whether the gate refuses it."""
        return not np.isfinite(self.sqnr_db) or self.agreement_upper < LEAST_AGREEMENT

    def refusal(self, name: str, variant: str = "", at_fault: str = "") -> QuantizationError:
        """The error with which the file ``name`` is refused; ``at_fault`` are layers in words."""
        layers = (
            f". The layers that cost it most, each alone in int8: {at_fault}; 'edge-effnet analyze "
            f"{variant}' with the same photos ranks all"
            if at_fault
            else ""
        )
        keep = "keep such layers in float with max_drop=, " if at_fault else ""
        return QuantizationError(
            f"{name} was not written: it agrees with its float network on only "
            f"{self.agreement:.1%} of {self.samples} calibration samples (logits "
            f"{self.sqnr_db:.1f} dB){layers}",
            hint=f"calibrate on more photos like those the model will see, {keep}try "
            "recipe='best', export precisions=['fp16'] instead, or write it all the same, marked, "
            "with force=True",
        )


def compare(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> Fidelity:
    """Fidelity of ``logits`` to ``reference``, both float32 [samples, classes], samples > 0."""
    noise = float(((reference - logits).astype(np.float64) ** 2).sum())
    signal = float((reference.astype(np.float64) ** 2).sum())
    sqnr = 10 * float(np.log10(signal / max(noise, 1e-30))) if signal > 0 else float("nan")
    same = reference.argmax(axis=1) == logits.argmax(axis=1)
    return Fidelity(float(same.mean()), sqnr, len(reference))
