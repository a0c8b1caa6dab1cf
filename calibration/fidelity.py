"""Fidelity check: a quantized file that disagrees with its float network is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelInfo
from edge_effnet.errors import QuantizationError
from edge_effnet.statistics import wilson

#: A file is refused if the upper end of the 95 % interval of its top-1 agreement is below this.
LEAST_AGREEMENT = 0.90
#: Networks with sigmoid outputs or plain numbers: a file with a lower SQNR in dB is refused.
#: At 9.0 dB, V2-B0's top-1 agreement is 90 % (min-max ranges, 1,200 photos).
LEAST_SQNR_DB = 9.0


@dataclass(frozen=True)
class Fidelity:
    """Comparison of quantized with float logits.

    Attributes:
        agreement: Top-1 agreement: the fraction of images with equal top-1 predictions. For
            multi-label networks, the mean Jaccard index of the label sets. For one output, 1.
        sqnr_db: SQNR of the logits in dB.
        samples: Number of images compared.
        least_sqnr_db: A file with a lower SQNR is refused.
        measure: Name of the agreement in messages.
    """

    agreement: float
    sqnr_db: float
    samples: int
    least_sqnr_db: float = -np.inf
    measure: str = "top-1 agreement"

    @property
    def agreement_upper(self) -> float:
        """Upper end of the Wilson 95 % interval of the top-1 agreement (Wilson 1927)."""
        return wilson(round(self.agreement * self.samples), self.samples)[1]

    @property
    def collapsed(self) -> bool:
        """Whether the fidelity check refuses the file."""
        if not np.isfinite(self.sqnr_db) or self.sqnr_db < self.least_sqnr_db:
            return True
        return self.agreement_upper < LEAST_AGREEMENT

    def refusal(self, name: str, variant: str = "", at_fault: str = "") -> QuantizationError:
        """The error that refuses a file.

        Args:
            name: Name of the file.
            variant: Variant of the network, for the ``analyze`` command that the error suggests.
            at_fault: Text that lists the layers with the most quantization noise.
        """
        layers = (
            f". The layers with the most noise: {at_fault}; 'edge-effnet analyze {variant}' with "
            "the same photos ranks all"
            if at_fault
            else ""
        )
        keep = "keep these layers in float with max_drop=, " if at_fault else ""
        reason = (
            f"its {self.measure} with the float network is only {self.agreement:.1%} of "
            f"{self.samples} calibration samples (SQNR {self.sqnr_db:.1f} dB)"
        )
        if self.agreement_upper >= LEAST_AGREEMENT:
            reason = (
                f"its outputs have an SQNR of only {self.sqnr_db:.1f} dB against the float "
                f"network's on {self.samples} calibration samples (at least "
                f"{max(self.least_sqnr_db, 0):.1f} dB)"
            )
        return QuantizationError(
            f"{name} was not written: {reason}{layers}",
            hint=f"calibrate on more photos like those the model will see, {keep}try "
            "recipe='best', export precisions=['fp16'] instead, or write it all the same, marked, "
            "with force=True",
        )


def compare(
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    info: ModelInfo | None = None,
) -> Fidelity:
    """Compare quantized with float logits.

    Args:
        reference: Float logits [samples, classes], at least one sample.
        logits: Quantized logits of the same shape.
        info: Description of the network, whose output activation defines a prediction. None:
            the prediction is the top-1 class.

    Returns:
        The fidelity. ``sqnr_db`` is NaN if ``logits`` contains NaN or ``reference`` is all zeros.
    """
    noise = float(((reference - logits).astype(np.float64) ** 2).sum())
    signal = float((reference.astype(np.float64) ** 2).sum())
    least = -np.inf if info is None or info.output_activation == "softmax" else LEAST_SQNR_DB
    same = agreement(reference, logits, info)
    sets = info is not None and info.multi_label
    return Fidelity(
        agreement=float(same.mean()),
        sqnr_db=sqnr_db(noise, signal),
        samples=len(reference),
        least_sqnr_db=least,
        measure="agreement of labels (Jaccard index)" if sets else "top-1 agreement",
    )


def sqnr_db(noise: float, signal: float = 1.0) -> float:
    """Signal-to-quantization-noise ratio in dB: 10 * log10(signal / noise).

    Args:
        noise: Energy of the error.
        signal: Energy of the reference; the default 1 is for relative noise.

    Returns:
        The ratio in dB, limited to 300; NaN if ``signal`` is 0 or ``noise`` is NaN.
    """
    if signal <= 0:
        return float("nan")
    return -10 * float(np.log10(max(noise / signal, 1e-30)))


def agreement(
    reference: NDArray[np.float32], logits: NDArray[np.float32], info: ModelInfo | None
) -> NDArray[np.floating[Any]] | NDArray[np.bool_]:
    """Agreement of each sample, 0..1 [samples], defined as in `Fidelity.agreement`."""
    if info is not None and info.multi_label:
        return jaccard(reference >= 0, logits >= 0)
    if reference.shape[1] == 1:
        return np.ones(len(reference))
    equal: NDArray[np.bool_] = reference.argmax(axis=1) == logits.argmax(axis=1)
    return equal


def jaccard(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Jaccard index (intersection over union) of the label sets in each row: float64 [n].

    ``first`` and ``second`` are bool [n, labels]. The index of two empty sets is 1. The mean over
    rows is scikit-learn's "samples" average.
    """
    union = (first | second).sum(axis=1)
    both = (first & second).sum(axis=1)
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))
