"""Records + limits -> Selection: the most accurate file that fits, and why (eq. 2 of the paper).

Tan & Le 2019 (arXiv 1905.11946), equation 2: maximise accuracy subject to memory and time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_effnet.benchmarks.pareto import pareto_front
from edge_effnet.benchmarks.prediction.accuracy_curve import expected_top1
from edge_effnet.benchmarks.records import Latency, Record
from edge_effnet.errors import UsageError
from edge_effnet.variants import VARIANTS

METRICS = tuple(Latency.__annotations__)
#: What accuracy may mean, in the order preferred.
MEASURES = {
    "top1": "top-1",
    "agreement": "agreement with float32",
    "published": "published top-1",
}


@dataclass(frozen=True)
class Limits:
    """What a file may cost; None is no limit.

    ``budget_ms`` bounds the ``metric`` of latency (median, p90, p99, min or mean), in milliseconds;
    ``max_drop`` the loss of top-1 against float32 in points, ``max_size_mb`` the file in MB (10^6
    bytes), ``max_rss_mb`` the peak memory in MiB. ``threads`` keeps only records timed on so many.
    """

    budget_ms: float
    metric: str = "median"
    max_drop: float | None = None
    max_size_mb: float | None = None
    max_rss_mb: float | None = None
    threads: int | None = None

    def check(self) -> None:
        """Raise `UsageError` for a limit that makes no sense."""
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
    """A record with its latency in ms by the metric asked for, and its accuracy in percent.

    Either is None where it was not measured.
    """

    record: Record
    latency: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Excluded:
    """A candidate that does not fit, and each limit it breaks, in words."""

    candidate: Candidate
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """The answer; ``choice`` is None when nothing fits, and then ``nearest`` is the closest miss.

    ``measure`` is a key of `MEASURES`. ``front`` holds the Pareto-optimal candidates of those that
    meet every limit but the budget, fastest first. ``step`` is the next of them that beats the
    choice, ``one_more`` the best within one more millisecond (None: that buys nothing).
    """

    limits: Limits
    measure: str
    choice: Candidate | None
    runner_up: Candidate | None
    nearest: Candidate | None
    step: Candidate | None
    one_more: Candidate | None
    front: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``choice``, ``runner_up`` and ``nearest`` are records or null."""
        return {
            "choice": _record(self.choice),
            "runner_up": _record(self.runner_up),
            "nearest": _record(self.nearest),
            "measure": self.measure,
            "limits": asdict(self.limits),
            "front": [_point(candidate) for candidate in self.front],
            "next": _gain(self.choice, self.step),
            "one_more_ms": _gain(self.choice, self.one_more),
            "excluded": [
                {**_point(item.candidate), "reasons": list(item.reasons)} for item in self.excluded
            ],
        }


def select(records: Sequence[Record], limits: Limits) -> Selection:
    """The most accurate record within ``limits``; of equals the fastest, then the smallest.

    Accuracy is top-1 where any record has it; else, among files of one variant, the agreement with
    float32; else the published top-1 of the variants. Raises `UsageError` for limits that make no
    sense and for records none of which has both a latency and an accuracy.
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
    reasons = [_reasons(candidate, limits) for candidate in candidates]
    within = [c for c, (other, _) in zip(candidates, reasons, strict=True) if not other]
    fitting = sorted(
        (c for c, (other, late) in zip(candidates, reasons, strict=True) if not other and not late),
        key=_best_first,
    )
    choice = fitting[0] if fitting else None
    beyond = [
        c
        for c in within
        if choice is not None
        and _of(c.accuracy) > _of(choice.accuracy)
        and _of(c.latency) > limits.budget_ms
    ]
    near = [c for c in beyond if _of(c.latency) <= limits.budget_ms + 1]
    return Selection(
        limits=limits,
        measure=measure,
        choice=choice,
        runner_up=fitting[1] if len(fitting) > 1 else None,
        nearest=None if choice else _nearest(within or usable, limits),
        step=min(beyond, key=lambda c: (_of(c.latency), -_of(c.accuracy)), default=None),
        one_more=min(near, key=_best_first, default=None),
        front=front(within),
        excluded=tuple(
            Excluded(candidate, (*other, *late))
            for candidate, (other, late) in zip(candidates, reasons, strict=True)
            if other or late
        ),
    )


def front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The Pareto front of latency and accuracy, fastest first."""
    ordered = sorted(candidates, key=_best_first)
    return tuple(pareto_front(ordered, lambda c: _of(c.latency), lambda c: _of(c.accuracy)))


def _measure(records: Sequence[Record]) -> str:
    if any(record.top1 is not None for record in records):
        return "top1"
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


def _reasons(candidate: Candidate, limits: Limits) -> tuple[list[str], list[str]]:
    """Which limits are broken, in words: (all but the budget, the budget)."""
    record, found = candidate.record, []
    late = candidate.latency is not None and candidate.latency > limits.budget_ms
    over = [f"over the budget of {limits.budget_ms:g} ms"] if late else []
    if candidate.latency is None:
        found.append("not timed")
    if candidate.accuracy is None:
        found.append("accuracy not measured")
    if limits.threads is not None and record.threads != limits.threads:
        found.append(f"not timed on {limits.threads} thread{'s' * (limits.threads > 1)}")
    if limits.max_drop is not None and not (record.is_reference or record.precision == "fp32"):
        if record.drop is None:
            found.append("drop not measured")
        elif record.drop > limits.max_drop:
            found.append(f"drop over {limits.max_drop:g} points")
    if limits.max_size_mb is not None and record.size_bytes > limits.max_size_mb * 1e6:
        found.append(f"larger than {limits.max_size_mb:g} MB")
    if limits.max_rss_mb is not None:
        if record.peak_rss_mb is None:
            found.append("memory not measured")
        elif record.peak_rss_mb > limits.max_rss_mb:
            found.append(f"more than {limits.max_rss_mb:g} MiB of memory")
    return found, over


def _nearest(candidates: Sequence[Candidate], limits: Limits) -> Candidate:
    """The one that breaks the fewest limits beside the budget, and of these the fastest."""
    return min(candidates, key=lambda c: (len(_reasons(c, limits)[0]), _of(c.latency)))


def _best_first(candidate: Candidate) -> tuple[float, float, int, str]:
    record = candidate.record
    return -_of(candidate.accuracy), _of(candidate.latency), record.size_bytes, record.file


def _of(value: float | None) -> float:
    """A figure that is known to be there."""
    assert value is not None  # noqa: S101  (candidates without one were excluded)
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
