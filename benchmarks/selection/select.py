"""Selection of the most accurate file within limits (Tan & Le 2019, equation 2).

Equation 2 of arXiv 1905.11946 maximises accuracy subject to memory and time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_effnet.benchmarks.pareto import pareto_front
from edge_effnet.benchmarks.prediction.accuracy_curve import expected_top1
from edge_effnet.benchmarks.records import Latency, Record
from edge_effnet.benchmarks.selection.prediction_errors import PredictionError
from edge_effnet.errors import UsageError
from edge_effnet.variants import VARIANTS

METRICS = tuple(Latency.__annotations__)
#: Accuracy measures, in order of preference.
MEASURES = {
    "top1": "top-1",
    "mean_ap": "mAP",
    "agreement": "agreement with float32",
    "published": "published top-1",
}


@dataclass(frozen=True)
class Limits:
    """Limits that a file must meet; None means no limit.

    Attributes:
        budget_ms: Largest latency in milliseconds.
        metric: Quantile of latency: median, p90, p99, min or mean.
        max_drop: Largest drop of top-1 or mAP relative to float32, in percentage points.
        max_size_mb: Largest file in MB (10^6 bytes).
        max_rss_mb: Largest peak memory in MiB.
        threads: Only records timed with this number of threads are considered.
    """

    budget_ms: float
    metric: str = "median"
    max_drop: float | None = None
    max_size_mb: float | None = None
    max_rss_mb: float | None = None
    threads: int | None = None

    def check(self) -> None:
        """Raise `UsageError` for an invalid limit."""
        if not (math.isfinite(self.budget_ms) and self.budget_ms > 0):
            raise UsageError(
                f"a budget of {self.budget_ms:g} ms leaves no time for any model",
                hint="give budget_ms= above 0",
            )
        if self.metric not in METRICS:
            raise UsageError(f"unknown metric {self.metric!r}; choose from {', '.join(METRICS)}")
        for name in ("max_drop", "max_size_mb", "max_rss_mb"):
            value = getattr(self, name)
            if value is not None and not (
                math.isfinite(value) and (value > 0 or name == "max_drop")
            ):
                raise UsageError(
                    f"a limit of {value:g} cannot be met", hint=f"give {name}= above 0"
                )


@dataclass(frozen=True)
class Candidate:
    """A record with its latency in ms (the quantile `Limits.metric`) and its accuracy in percent.

    A value that was not measured is None.
    """

    record: Record
    latency: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Excluded:
    """A candidate that does not meet the limits; ``broken`` has the violated limits as text."""

    candidate: Candidate
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """Result of a selection.

    Attributes:
        limits: The limits.
        measure: Accuracy measure, a key of `MEASURES`.
        choice: The best candidate; None if no candidate meets the limits.
        runner_up: The second-best candidate.
        nearest: If there is no choice, the candidate that violates the fewest limits.
        next_better: The fastest candidate above the latency budget that is more accurate than the
            choice.
        one_more: The best candidate under a latency budget 1 ms higher; None if that is ``choice``.
        front: Pareto-optimal candidates, fastest first. They meet all limits except the latency
            budget.
        excluded: Candidates that exceed a limit, with the limits that each exceeds.
        predictions: Predicted beside measured latency of the files that have both.
        to_train: The best network within the limits of which no checkpoint is at hand, if it is
            more accurate than ``choice``. Its latency is predicted.
        commands: The command that makes a candidate's file or checkpoint, by ``Record.file``; only
            for predicted candidates.
    """

    limits: Limits
    measure: str
    choice: Candidate | None
    runner_up: Candidate | None
    nearest: Candidate | None
    next_better: Candidate | None
    one_more: Candidate | None
    front: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    predictions: tuple[PredictionError, ...] = ()
    to_train: Candidate | None = None
    commands: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``choice``, ``runner_up`` and ``nearest`` are records or null."""
        return {
            "choice": _record(self.choice),
            "runner_up": _record(self.runner_up),
            "nearest": _record(self.nearest),
            "measure": self.measure,
            "limits": asdict(self.limits),
            "front": [_point(candidate) for candidate in self.front],
            "next": _gain(self.choice, self.next_better),
            "one_more_ms": _gain(self.choice, self.one_more),
            "excluded": [
                {**_point(item.candidate), "reasons": list(item.broken)} for item in self.excluded
            ],
            "predictions": [
                {**asdict(item), "error": round(item.relative, 4)} for item in self.predictions
            ],
            "to_train": _record(self.to_train),
            "commands": {
                name: self.command(candidate)
                for name, candidate in (("choice", self.choice), ("to_train", self.to_train))
                if self.command(candidate) is not None
            },
        }

    def command(self, candidate: Candidate | None) -> str | None:
        """The command that makes the file or checkpoint of ``candidate``, if it is known."""
        return None if candidate is None else self.commands.get(candidate.record.file)


def select(records: Sequence[Record], limits: Limits) -> Selection:
    """The most accurate record within ``limits``; of equals the fastest, then the smallest.

    Accuracy is top-1 if any record has it. Without top-1, it is agreement with float32 if all
    records have the same variant. For several variants, it is their published top-1.

    Args:
        records: Measured records.
        limits: The limits.

    Raises:
        UsageError: A limit is invalid, or no record has both latency and accuracy.
    """
    limits.check()
    measure = _measure(records)
    candidates = [
        Candidate(record, _latency(record, limits.metric), _accuracy(record, measure))
        for record in records
    ]
    usable = [c for c in candidates if c.latency is not None and c.accuracy is not None]
    if not usable:
        raise UsageError(
            f"none of the {len(records)} records has both a latency and an accuracy; measure with "
            "'edge-effnet compare', which writes results.json with both"
        )
    broken = [_broken_limits(candidate, limits) for candidate in candidates]
    within = [
        c for c, (other_limits, _) in zip(candidates, broken, strict=True) if not other_limits
    ]
    fitting = sorted(
        (
            c
            for c, (other_limits, over_budget) in zip(candidates, broken, strict=True)
            if not other_limits and not over_budget
        ),
        key=_best_first,
    )
    choice = fitting[0] if fitting else None
    better = [
        c
        for c in within
        if choice is not None
        and _of(c.accuracy) > _of(choice.accuracy)
        and _of(c.latency) > limits.budget_ms
    ]
    near = [c for c in better if _of(c.latency) <= limits.budget_ms + 1]
    return Selection(
        limits=limits,
        measure=measure,
        choice=choice,
        runner_up=fitting[1] if len(fitting) > 1 else None,
        nearest=None if choice else _nearest(within or usable, limits),
        next_better=min(better, key=lambda c: (_of(c.latency), -_of(c.accuracy)), default=None),
        one_more=min(near, key=_best_first, default=None),
        front=front(within),
        excluded=tuple(
            Excluded(candidate, (*other_limits, *over_budget))
            for candidate, (other_limits, over_budget) in zip(candidates, broken, strict=True)
            if other_limits or over_budget
        ),
    )


def front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Pareto front of latency and accuracy, fastest first."""
    ordered = sorted(candidates, key=_best_first)
    return tuple(pareto_front(ordered, lambda c: _of(c.latency), lambda c: _of(c.accuracy)))


def _measure(records: Sequence[Record]) -> str:
    for measure in ("top1", "mean_ap"):
        if any(getattr(record, measure) is not None for record in records):
            return measure
    one_network = len({record.variant for record in records}) == 1
    if one_network and any(record.agreement is not None for record in records):
        return "agreement"
    return "published"


def _accuracy(record: Record, measure: str) -> float | None:
    if measure == "published":
        variant = VARIANTS.get(record.variant)
        if variant is None:
            return None
        return expected_top1(variant, record.precision, record.resolution)
    share: float | None = getattr(record, measure)
    return None if share is None else 100 * share


def _latency(record: Record, metric: str) -> float | None:
    if record.latency_ms is None or record.error:
        return None
    value: float = getattr(record.latency_ms, metric)
    return value if value > 0 else None


def _broken_limits(candidate: Candidate, limits: Limits) -> tuple[list[str], list[str]]:
    """Violated limits as text: (all except the latency budget, the latency budget)."""
    record, broken = candidate.record, []
    over_budget = candidate.latency is not None and candidate.latency > limits.budget_ms
    budget = [f"over the budget of {limits.budget_ms:g} ms"] if over_budget else []
    if candidate.latency is None:
        broken.append("not timed")
    if candidate.accuracy is None:
        broken.append("accuracy not measured")
    if limits.threads is not None and record.threads != limits.threads:
        broken.append(f"not timed on {limits.threads} thread{'s' * (limits.threads > 1)}")
    if limits.max_drop is not None and not (record.is_reference or record.precision == "fp32"):
        if record.drop is None:
            broken.append("drop not measured")
        elif record.drop > limits.max_drop:
            broken.append(f"drop over {limits.max_drop:g} points")
    if limits.max_size_mb is not None and record.size_bytes > limits.max_size_mb * 1e6:
        broken.append(f"larger than {limits.max_size_mb:g} MB")
    if limits.max_rss_mb is not None:
        if record.peak_rss_mb is None:
            broken.append("memory not measured")
        elif record.peak_rss_mb > limits.max_rss_mb:
            broken.append(f"more than {limits.max_rss_mb:g} MiB of memory")
    return broken, budget


def _nearest(candidates: Sequence[Candidate], limits: Limits) -> Candidate:
    """The candidate that violates the fewest limits besides the budget; of equals the fastest."""
    return min(candidates, key=lambda c: (len(_broken_limits(c, limits)[0]), _of(c.latency)))


def _best_first(candidate: Candidate) -> tuple[float, float, int, str]:
    record = candidate.record
    return -_of(candidate.accuracy), _of(candidate.latency), record.size_bytes, record.file


def _of(value: float | None) -> float:
    """``value``, which is not None here."""
    assert value is not None  # noqa: S101  (candidates without a value were excluded before)
    return value


def _record(candidate: Candidate | None) -> dict[str, Any] | None:
    return None if candidate is None else asdict(candidate.record)


def _point(candidate: Candidate) -> dict[str, Any]:
    record = candidate.record
    return {
        **{name: getattr(record, name) for name in ("file", "variant", "format", "precision")},
        "threads": record.threads,
        "latency_ms": candidate.latency,
        "accuracy": candidate.accuracy,
    }


def _gain(choice: Candidate | None, other: Candidate | None) -> dict[str, Any] | None:
    if choice is None or other is None:
        return None
    return {
        **_point(other),
        "extra_ms": round(_of(other.latency) - _of(choice.latency), 4),
        "gain_points": round(_of(other.accuracy) - _of(choice.accuracy), 4),
    }
