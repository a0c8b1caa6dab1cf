"""Self-contained HTML page of results, with plots and a few photos."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy.evaluate import Evaluation
from edge_effnet.benchmarks.accuracy.predictions import Predictions
from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.records import Record, Results
from edge_effnet.benchmarks.reporting import classes, device_plot, formatting, html, plots
from edge_effnet.benchmarks.reporting.html import thumbnail
from edge_effnet.errors import require
from edge_effnet.files import write_text
from edge_effnet.runtime.devices.device import CPU

PHOTOS = 8
_TILES = 4
OPERATORS = 15
_DIFFERING = 5  # at most this many photos on which files differ
_BROKEN_SHOWN = 20
_BUSY = 0.5  # load average per core above which times are unreliable
_LITTLE_GAIN = 0.95  # int8 time / fp32 time from which the page explains it


@dataclass(frozen=True)
class Vote:
    """One file's top prediction for a photo.

    ``differs`` tells whether the prediction differs from the reference's.
    """

    record: Record
    title: str
    probability: float
    differs: bool


@dataclass(frozen=True)
class PredictedClass:
    """A predicted class with the votes for it; ``right`` (correct) is None without labels."""

    name: str
    right: bool | None
    votes: tuple[Vote, ...]

    @property
    def span(self) -> str:
        """Range of the votes' probabilities in percent."""
        low, high = (
            f"{100 * value:.0f}" for value in _extremes([v.probability for v in self.votes])
        )
        return f"{low} %" if low == high else f"{low} – {high} %"  # noqa: RUF001


@dataclass(frozen=True)
class Example:
    """One photo with the predicted classes, the most frequent first."""

    name: str
    thumbnail: str
    truth: str | None
    predictions: tuple[PredictedClass, ...]

    @property
    def differs(self) -> bool:
        """Whether any file's prediction differs from its reference's."""
        return any(vote.differs for predicted in self.predictions for vote in predicted.votes)


def write(
    results: Results, path: str | os.PathLike[str], evaluation: Evaluation | None = None
) -> Path:
    """Write the page to ``path``, replacing it atomically.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        OutputError: The page cannot be written.
    """
    return write_text(path, render(results, evaluation))


def render(results: Results, evaluation: Evaluation | None = None) -> str:
    """The page's HTML; without ``evaluation`` it shows no photos.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    environment = html.environment("edge_effnet.benchmarks.reporting")
    markup = require("markupsafe", "report").Markup
    require("matplotlib", "report")
    records = formatting.order(results.records)
    script = html.resource("edge_effnet.benchmarks.reporting", "report.js")
    titles = formatting.titles(records)
    by_file = {record.key: title for record, title in zip(records, titles, strict=True)}
    gains = formatting.gains(records)
    praised = gains[0].record if gains else None  # named in the headline
    plotted = records[: plots.MOST_FILES]
    svgs = (
        (plots.accuracy_against_latency(plotted), "scatter"),
        (plots.losses(plotted), "losses"),
        (plots.latencies(plotted), "latencies"),
        (device_plot.devices(plotted), "devices"),
    )
    text: str = environment.get_template("report.html").render(
        results=results,
        script=markup(script),
        script_digest=html.script_digest(script),
        sort_keys=sort_keys,
        operators=operators,
        rows=list(zip(records, titles, strict=True)),
        title_of=lambda record: by_file[record.key],
        praised=praised,
        class_table=classes.class_table(records, results.classes, praised),
        least_photos=classes.LEAST_PHOTOS,
        confusion=None if evaluation is None else classes.confusion(evaluation, praised),
        always_wrong=_always_wrong(evaluation),
        formatting=formatting,
        basename=os.path.basename,
        gains=_tiles(records),
        placed=any(formatting.placement(record) != formatting.NONE for record in records),
        plots={name: markup(svg) for svg, name in svgs},
        plotted=len(plotted),
        strays=_strays(records),
        examples=[] if evaluation is None else examples(evaluation),
        differing=None if evaluation is None else _differing(evaluation),
        dot_product=host.has_dot_product(results.host.features),
        slow_int8=_slow_int8(results, by_file),
        busy=(results.host.load or 0.0) > _BUSY * results.host.cores,
        runtimes=_runtimes(records),
        broken_shown=_BROKEN_SHOWN,
    )
    return html.without_surrogates(text)


def _slow_int8(results: Results, titles: Mapping[str, str]) -> list[str]:
    """Titles of CPU files in int8 that gain little on a CPU without 8-bit dot products."""
    features = results.host.features
    if not features or host.has_dot_product(features):
        return []
    return [
        titles[gain.record.key]
        for gain in formatting.gains(results.records)
        if gain.record.precision == "int8"
        and gain.record.device in (None, CPU)
        and gain.time is not None
        and gain.time > _LITTLE_GAIN
    ]


def sort_keys(record: Record) -> dict[str, float]:
    """Numbers of a record for sorting the page's table and for its budget filter.

    Unmeasured values are missing. ``score`` is the accuracy, or agreement without labels.
    """
    latency = record.latency_ms
    values = {
        "top1": record.top1,
        "top5": record.top5,
        "map": record.mean_ap,
        "f1": record.f1,
        "agreement": record.agreement,
        "drop": record.drop,
        "sqnr": record.sqnr_db,
        "size": record.size_bytes,
        "median": None if latency is None else latency.median,
        "p90": None if latency is None else latency.p90,
        "p99": None if latency is None else latency.p99,
        "memory": record.peak_rss_mb,
        "share": None if record.placement is None else record.placement.share,
        "score": record.agreement if record.accuracy is None else record.accuracy,
    }
    return {name: value for name, value in values.items() if value is not None}


def operators(record: Record) -> list[tuple[str, str, float, float]]:
    """The slowest operators (at most `OPERATORS`) and the sum of the others.

    Each entry is (layer, kind, ms, fraction of the total time).
    """
    total = sum(operator.ms for operator in record.operators)
    ranked = sorted(record.operators, key=lambda operator: -operator.ms)
    shown = [(one.layer, one.kind, one.ms) for one in ranked[:OPERATORS]]
    others = ranked[OPERATORS:]
    if others:
        shown.append((f"{len(others)} others", "", sum(one.ms for one in others)))
    return [(layer, kind, ms, ms / total if total else 0.0) for layer, kind, ms in shown]


def examples(evaluation: Evaluation, count: int = PHOTOS) -> list[Example]:
    """Up to ``count`` photos: those on which most files differ, then photos without differences."""
    differing = _disagreements(evaluation)
    ranked = np.argsort(-differing, kind="stable")
    chosen = [int(number) for number in ranked[: min(count, _DIFFERING)] if differing[number]]
    agreed = [int(number) for number in np.flatnonzero(differing == 0)]
    wanted = min(count - len(chosen), len(agreed))
    chosen += [agreed[len(agreed) * index // wanted] for index in range(wanted)]
    return [_example(evaluation, number) for number in chosen]


def _disagreements(evaluation: Evaluation) -> NDArray[np.int64]:
    """Number of files whose prediction differs from their reference's, int64 [photos]."""
    count = np.zeros(len(evaluation.photos), np.int64)
    for predictions, reference in zip(evaluation.predictions, evaluation.references, strict=True):
        if reference is not None:
            count += ~_same(predictions, reference, evaluation.threshold)
    return count


def _same(one: Predictions, other: Predictions, threshold: float) -> NDArray[np.bool_]:
    """Whether the two files predict the same class or set of labels, bool [photos]."""
    if one.scores is None or other.scores is None:
        return np.asarray(one.indices[:, 0] == other.indices[:, 0])
    return np.asarray(((one.scores >= threshold) == (other.scores >= threshold)).all(axis=1))


@dataclass(frozen=True)
class AlwaysWrong:
    """Number of photos that every file misclassifies, with a few examples."""

    count: int = 0
    examples: tuple[Example, ...] = ()


def _always_wrong(evaluation: Evaluation | None) -> AlwaysWrong:
    """Photos that every file misclassifies; none if there are fewer than two files."""
    if evaluation is None or len(evaluation.records) < 2 or _truth(evaluation, 0) is None:
        return AlwaysWrong()
    wrong = [
        number
        for number in range(len(evaluation.photos))
        if all(
            _predicted(predictions, number, evaluation.threshold) != _truth(evaluation, number)
            for predictions in evaluation.predictions
        )
    ]
    shown = {len(wrong) * place // PHOTOS for place in range(PHOTOS)} if wrong else set()
    chosen = [_example(evaluation, wrong[place]) for place in sorted(shown)]
    return AlwaysWrong(len(wrong), tuple(chosen))


def _differing(evaluation: Evaluation) -> int | None:
    """Number of photos on which any file differs from its reference; None without one."""
    if all(reference is None for reference in evaluation.references):
        return None
    return int((_disagreements(evaluation) > 0).sum())


def _example(evaluation: Evaluation, number: int) -> Example:
    truth = _truth(evaluation, number)
    votes: dict[tuple[int, ...], list[Vote]] = {}
    ordered = formatting.order(evaluation.records)
    titles = {r.key: title for r, title in zip(ordered, formatting.titles(ordered), strict=True)}
    indices = {record.key: position for position, record in enumerate(evaluation.records)}
    for record in ordered:
        position = indices[record.key]
        predictions, reference = evaluation.predictions[position], evaluation.references[position]
        predicted = _predicted(predictions, number, evaluation.threshold)
        differs = reference is not None and predicted != _predicted(
            reference, number, evaluation.threshold
        )
        vote = Vote(
            record, titles[record.key], float(predictions.probabilities[number, 0]), differs
        )
        votes.setdefault(predicted, []).append(vote)
    predicted_classes = [
        PredictedClass(
            name=_name(predicted, evaluation.classes),
            right=None if truth is None else predicted == truth,
            votes=tuple(class_votes),
        )
        for predicted, class_votes in votes.items()
    ]
    return Example(
        name=evaluation.photos[number].name,
        thumbnail=thumbnail(evaluation.photos[number].path),
        truth=None if truth is None else _name(truth, evaluation.classes),
        predictions=tuple(
            sorted(predicted_classes, key=lambda predicted_class: -len(predicted_class.votes))
        ),
    )


def _truth(evaluation: Evaluation, number: int) -> tuple[int, ...] | None:
    """The true classes of a photo: one, or its set of labels."""
    if evaluation.label_sets is not None:
        return tuple(np.flatnonzero(evaluation.label_sets[number]).tolist())
    return None if evaluation.targets is None else (int(evaluation.targets[number]),)


def _predicted(predictions: Predictions, number: int, threshold: float) -> tuple[int, ...]:
    """Predicted class of a photo (-1: none), or its predicted set of labels."""
    first = int(predictions.indices[number, 0])
    if predictions.scores is None or first < 0:
        return (first,)
    return tuple(np.flatnonzero(predictions.scores[number] >= threshold).tolist())


def _name(indices: tuple[int, ...], classes: Sequence[str]) -> str:
    if indices == (-1,):
        return "no prediction (not finite)"
    return ", ".join(classes[index] for index in indices) or "none of the labels"


def _tiles(records: Sequence[Record]) -> list[formatting.Gain]:
    """The `Gain` of each of the four fastest quantized files, for the tiles of the page.

    The fastest file is first, because the headline names it. The rest are in table order.
    """
    gains = formatting.gains(records)[:_TILES]
    files = [record.key for record in records]
    return gains[:1] + sorted(gains[1:], key=lambda gain: files.index(gain.record.key))


def _strays(records: Sequence[Record]) -> tuple[int, int]:
    """(Number of timed runs beyond the latency plot's axis, number of timed runs)."""
    samples = [time for record in records for time in record.samples_ms]
    if not samples:
        return 0, 0
    limit = plots.latency_limit(records)
    return sum(time > limit for time in samples), len(samples)


def _runtimes(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The distinct runtimes, with version and kernel libraries."""
    kernels_of: dict[tuple[str | None, str | None], set[str]] = {}
    for record in records:
        kernels = kernels_of.setdefault((record.runtime, record.runtime_version), set())
        if record.kernels:
            kernels.add(record.kernels)
    return [
        {"name": name, "version": version or "", "kernels": sorted(kernels)}
        for (name, version), kernels in kernels_of.items()
        if name
    ]


def _extremes(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
