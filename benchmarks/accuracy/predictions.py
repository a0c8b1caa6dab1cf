"""Predictions of files on a shard of the photos, and their JSON.

Evaluation runs in shards so that processes can share the photos and a sweep can resume.
`evaluate.conclude` merges the shards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.records import Record
from edge_effnet.card import CalibrationRecord
from edge_effnet.classifier import sigmoid, softmax
from edge_effnet.decoding import decode

#: Number of top predictions stored per photo.
TOP = 5
#: SQNR reported for bit-identical logits, whose exact SQNR is infinite.
MAX_SQNR_DB = 200.0


@dataclass(frozen=True, eq=False)
class Predictions:
    """The top predictions of one file for every photo, best first.

    ``indices`` is int32 [photos, k] with k = min(5, classes), -1 where the logits were not finite;
    ``probabilities`` is float32 of the same shape. ``scores`` are the probabilities of all labels
    of a multi-label network, float32 [photos, labels], 0 where the logits were not finite.
    """

    indices: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    scores: NDArray[np.float32] | None = None


@dataclass
class PredictionCounts:
    """Predictions of one file, and signal and noise energies of its logits, summed over photos.

    ``indices`` and ``probabilities`` have one array per chunk of photos, as in `Predictions`.
    ``record`` is the file's record before measurement, ``compared`` the key of its reference.
    ``scores`` holds the probabilities of all labels if the network is ``multi_label``.
    ``calibration`` is the record of the file's calibration photos, without their names, if it has
    their appearance. ``appearance`` is that of the evaluated photos, [photos, 4] per chunk.
    """

    record: Record
    compared: str | None
    indices: list[NDArray[np.int32]] = field(default_factory=list)
    probabilities: list[NDArray[np.float32]] = field(default_factory=list)
    signal: float = 0.0
    noise: float = 0.0
    multi_label: bool = False
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    calibration: CalibrationRecord | None = None
    appearance: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, logits: NDArray[np.float32]) -> None:
        """Append the top predictions of a chunk of photos from its logits [photos, classes]."""
        finite = np.isfinite(logits).all(axis=1, keepdims=True)
        numbers = np.where(finite, logits, np.float32(0))
        shares = sigmoid(numbers) if self.multi_label else softmax(numbers)
        if self.multi_label:
            self.scores.append(np.where(finite, shares, np.float32(0)))
        best = np.argsort(-np.where(finite, logits, 0), axis=1, kind="stable")[:, :TOP]
        self.indices.append(np.where(finite, best, -1).astype(np.int32))
        best_shares = np.take_along_axis(shares, best, axis=1)
        self.probabilities.append(np.where(finite, best_shares, np.float32(0)))

    def add_noise(self, reference: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Add the energy of ``reference`` to the signal, that of its difference to the noise.

        Non-finite values count as 0.
        """
        wanted, got = (
            np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
            for values in (reference, logits)
        )
        self.signal += float(np.square(wanted).sum())
        self.noise += float(np.square(wanted - got).sum())


@dataclass(frozen=True, eq=False)
class PredictionShard:
    """Predictions of all files on one range of photos.

    Attributes:
        decoded: Indices of the decoded photos.
        broken: (name, error message) of photos that cannot be decoded.
        counts: Predictions of each model file by the key of its record: first the evaluated files,
            then the references that are not evaluated themselves.
        measured: Number of evaluated files, the first entries of ``counts``.
        classes: Names of the classes.
    """

    decoded: tuple[int, ...]
    broken: tuple[tuple[str, str], ...]
    counts: Mapping[str, PredictionCounts]
    measured: int
    classes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data; probabilities have enough digits to restore the float32 values."""
        return {
            "kept": list(self.decoded),
            "broken": [list(item) for item in self.broken],
            "measured": self.measured,
            "files": [
                {
                    "record": asdict(count.record),
                    "compared": count.compared,
                    "indices": np.concatenate(count.indices).tolist(),
                    "probabilities": _digits(count.probabilities),
                    "signal": count.signal,
                    "noise": count.noise,
                    **({"scores": _digits(count.scores)} if count.multi_label else {}),
                    **_appearance_json(count),
                }
                for count in self.counts.values()
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], classes: Sequence[str]) -> PredictionShard:
        """The shard that `as_json` wrote; ``classes`` are the evaluated files' class names."""
        counts = {}
        for item in content["files"]:
            record = decode(Record, item["record"])
            width = min(TOP, len(classes))
            counts[record.key] = PredictionCounts(
                record,
                item["compared"],
                [np.array(item["indices"], np.int32).reshape(-1, width)],
                [np.array(item["probabilities"], np.float32).reshape(-1, width)],
                item["signal"],
                item["noise"],
            )
            if "scores" in item:
                scores = np.array(item["scores"], np.float32).reshape(-1, len(classes))
                counts[record.key].multi_label, counts[record.key].scores = True, [scores]
            if "calibration" in item:
                counts[record.key].calibration = decode(CalibrationRecord, item["calibration"])
                rows = np.array(item["appearance"], np.float32).reshape(-1, 4)
                counts[record.key].appearance = [rows]
        return cls(
            decoded=tuple(content["kept"]),
            broken=tuple((name, message) for name, message in content["broken"]),
            counts=counts,
            measured=content["measured"],
            classes=tuple(classes),
        )


def _appearance_json(count: PredictionCounts) -> dict[str, Any]:
    if count.calibration is None:
        return {}
    return {
        "calibration": asdict(count.calibration),
        "appearance": _digits(count.appearance),
    }


def _digits(parts: Sequence[NDArray[np.float32]]) -> list[list[float]]:
    """Rows with enough digits to restore the float32 values."""
    return [[float(f"{value:.9g}") for value in row] for row in np.concatenate(parts).tolist()]


def joined(shards: Sequence[PredictionCounts]) -> tuple[Predictions, float]:
    """Predictions of one file over its shards in order, and its SQNR in dB."""
    predictions = Predictions(
        np.concatenate([rows for counts in shards for rows in counts.indices]),
        np.concatenate([rows for counts in shards for rows in counts.probabilities]),
        np.concatenate([rows for counts in shards for rows in counts.scores])
        if shards[0].multi_label
        else None,
    )
    signal, noise = (sum(getattr(t, name) for t in shards) for name in ("signal", "noise"))
    return predictions, round(sqnr_db(signal, noise), 2)


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, clipped to +-`MAX_SQNR_DB`; 0 without signal."""
    if noise <= 0:
        return MAX_SQNR_DB
    if signal <= 0:
        return 0.0
    decibels = 10 * (math.log10(signal) - math.log10(noise))
    return max(-MAX_SQNR_DB, min(MAX_SQNR_DB, decibels))
