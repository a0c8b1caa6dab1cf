"""Domain shift of an evaluation: its photos against the calibration photos of the files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_effnet.appearance import shift_warning
from edge_effnet.benchmarks.accuracy.predictions import PredictionShard
from edge_effnet.card import CalibrationRecord, ModelCard


def calibration_of(card: ModelCard) -> CalibrationRecord | None:
    """The record of a file's calibration photos, without names; None without their appearance."""
    quantization = card.quantization
    record = None if quantization is None else quantization.calibration
    if record is None or not record.appearance:
        return None
    return replace(record, manifest=())


def shift_warnings(shards: Sequence[PredictionShard]) -> list[str]:
    """Warnings that the photos look different from calibration photos, one per calibration set."""
    first, warnings = shards[0], dict[str, str]()
    for path in list(first.counts)[: first.measured]:
        calibration = first.counts[path].calibration
        if calibration is None or calibration.digest in warnings:
            continue
        parts = [rows for shard in shards for rows in shard.counts[path].appearance]
        warning = shift_warning(calibration, np.concatenate(parts), os.path.basename(path))
        if warning is not None:
            warnings[calibration.digest] = warning
    return [*warnings.values()]
