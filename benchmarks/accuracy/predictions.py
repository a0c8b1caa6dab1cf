"""What files answer on a stretch of photos: Tally, and Part with its way to JSON and back.

Accuracy is measured in parts so that processes can share the photos and a sweep can stop anywhere;
`accuracy.conclude` puts parts together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.decoding import decode
from edge_effnet.benchmarks.records import Record
from edge_effnet.classifier import softmax

#: Answers kept of every photo.
TOP = 5
#: SQNR of logits that are equal in every bit, where the true figure is infinite.
MAX_SQNR_DB = 200.0


@dataclass(frozen=True, eq=False)
class Predictions:
    """One file's best answers for every photo, best first.

    ``indices`` is int32 [photos, k] with k = min(5, classes), -1 where the logits were not finite;
    ``probabilities`` is float32 of the same shape.
    """

    indices: NDArray[np.int32]
    probabilities: NDArray[np.float32]


@dataclass
class PredictionCounts:
    """One file's answers, chunk by chunk, and the energies that make its SQNR.

    ``record`` is what the file says of itself, ``compared`` the path of its reference.
    """

    record: Record
    compared: str | None
    indices: list[NDArray[np.int32]] = field(default_factory=list)
    probabilities: list[NDArray[np.float32]] = field(default_factory=list)
    signal: float = 0.0
    noise: float = 0.0

    def add(self, logits: NDArray[np.float32]) -> None:
        """The answers of logits float32 [photos, classes]."""
        finite = np.isfinite(logits).all(axis=1, keepdims=True)
        shares = softmax(np.where(finite, logits, np.float32(0)))
        best = np.argsort(-np.where(finite, logits, 0), axis=1, kind="stable")[:, :TOP]
        self.indices.append(np.where(finite, best, -1).astype(np.int32))
        best_shares = np.take_along_axis(shares, best, axis=1)
        self.probabilities.append(np.where(finite, best_shares, np.float32(0)))

    def add_noise(self, reference: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Values that are not finite count as 0: they cost their whole signal."""
        wanted, got = (
            np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
            for values in (reference, logits)
        )
        self.signal += float(np.square(wanted).sum())
        self.noise += float(np.square(wanted - got).sum())


@dataclass(frozen=True, eq=False)
class PredictionShard:
    """A stretch of a photo set: the numbers of the photos decoded, (name, reason) of the broken.

    ``tallies`` are by path; the first ``measured`` of them were asked for, others are references.
    """

    kept: tuple[int, ...]
    broken: tuple[tuple[str, str], ...]
    tallies: Mapping[str, PredictionCounts]
    measured: int
    classes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data; probabilities with the digits that tell float32 values apart."""
        return {
            "kept": list(self.kept),
            "broken": [list(item) for item in self.broken],
            "measured": self.measured,
            "files": [
                {
                    "record": asdict(tally.record),
                    "compared": tally.compared,
                    "indices": np.concatenate(tally.indices).tolist(),
                    "probabilities": [
                        [float(f"{value:.9g}") for value in row]
                        for row in np.concatenate(tally.probabilities).tolist()
                    ],
                    "signal": tally.signal,
                    "noise": tally.noise,
                }
                for tally in self.tallies.values()
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], classes: Sequence[str]) -> PredictionShard:
        """What `as_json` gave, of files that name ``classes``."""
        tallies = {}
        for item in content["files"]:
            record = decode(Record, item["record"])
            width = min(TOP, len(classes))
            tallies[record.file] = PredictionCounts(
                record,
                item["compared"],
                [np.array(item["indices"], np.int32).reshape(-1, width)],
                [np.array(item["probabilities"], np.float32).reshape(-1, width)],
                item["signal"],
                item["noise"],
            )
        return cls(
            kept=tuple(content["kept"]),
            broken=tuple((name, reason) for name, reason in content["broken"]),
            tallies=tallies,
            measured=content["measured"],
            classes=tuple(classes),
        )


def joined(tallies: Sequence[PredictionCounts]) -> tuple[Predictions, float]:
    """One file's answers over parts in order, and its SQNR in dB."""
    answers = Predictions(
        np.concatenate([rows for tally in tallies for rows in tally.indices]),
        np.concatenate([rows for tally in tallies for rows in tally.probabilities]),
    )
    signal, noise = (sum(getattr(t, name) for t in tallies) for name in ("signal", "noise"))
    return answers, round(sqnr_db(signal, noise), 2)


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, within `MAX_SQNR_DB` of 0; 0 for no signal."""
    if noise <= 0:
        return MAX_SQNR_DB
    if signal <= 0:
        return 0.0
    decibels = 10 * (math.log10(signal) - math.log10(noise))
    return max(-MAX_SQNR_DB, min(MAX_SQNR_DB, decibels))
