"""Predicted beside measured latency of the same file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_effnet.benchmarks.prediction.latency_model import LatencyModel, folded_graph
from edge_effnet.benchmarks.records import Record
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.variants import VARIANTS


@dataclass(frozen=True)
class PredictionError:
    """Predicted and measured median latency of ``file`` in milliseconds."""

    file: str
    predicted_ms: float
    measured_ms: float

    @property
    def relative(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted_ms / self.measured_ms - 1


def prediction_error(predicted: Record, measured: Record) -> PredictionError | None:
    """The two latencies of one file; None if one is missing."""
    if predicted.latency_ms is None or measured.latency_ms is None or measured.error:
        return None
    return PredictionError(
        measured.file, predicted.latency_ms.median, round(measured.latency_ms.median, 4)
    )


def prediction_errors(
    model: LatencyModel, records: Sequence[Record]
) -> tuple[PredictionError, ...]:
    """Predictions of ``model`` for measured ``records``.

    Records of other networks, runtimes or numbers of threads than the model's are left out.
    """
    known = {
        (runtime.format, runtime.precision, runtime.device): runtime
        for runtime in model.runtimes
        if runtime.reliable
    }
    errors = []
    for record in records:
        device = record.device or CPU
        runtime = known.get((record.format, record.precision, device))
        variant = VARIANTS.get(record.variant)
        if runtime is None or variant is None:
            continue
        if device == CPU and record.threads != model.threads:
            continue
        if record.latency_ms is None or record.error or not record.latency_ms.median > 0:
            continue
        time = runtime.predict(folded_graph(variant, record.resolution))
        errors.append(
            PredictionError(record.file, round(time, 4), round(record.latency_ms.median, 4))
        )
    return tuple(errors)
