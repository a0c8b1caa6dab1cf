"""What the page shows, computed from the files of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_effnet.apps.training.metrics import STAGES, Metrics, Prediction, SplitMetrics, Stage
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.run_page.class_bars import (
    ClassBars,
    Confusion,
    class_bars,
    confusion,
)
from edge_effnet.apps.training.run_page.gallery import (
    MOST_CARDS,
    Card,
    cards,
    most_confident_mistakes,
)
from edge_effnet.apps.training.run_page.reliability import Reliability, reliability
from edge_effnet.apps.training.run_page.suspected_labels import suspected_labels
from edge_effnet.apps.training.samples import Finding, Split
from edge_effnet.benchmarks.intervals import paired_difference
from edge_effnet.statistics import Interval, wilson

TITLES: dict[Stage, str] = {
    "head": "Head alone",
    "fine_tuning": "Fine-tuned",
    "int8_aware": "Int8-aware",
}
#: Splits that an accuracy may be quoted on, best first: the training has not used test photos.
_BY_TRUST: tuple[Split, ...] = ("test", "val", "train")
SPLIT_NAMES: dict[Split, str] = {"test": "test", "val": "validation", "train": "training"}


@dataclass(frozen=True)
class Change:
    """Top-1 of a stage minus that of an earlier one, on the same photos, in percentage points.

    Attributes:
        title: Title of the earlier stage.
        points: The difference; positive is better.
        interval: Its paired 95 % interval.
        photos: Number of photos.
    """

    title: str
    points: float
    interval: Interval
    photos: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class StageResult:
    """Accuracy of one stage's network on the evaluated split.

    Attributes:
        stage: The stage.
        title: Its title.
        metrics: The accuracy.
        interval: 95 % Wilson interval of top-1.
        change: Difference to the head alone; None for the head.
        improved: Whether the network replaced that of the previous stage.
        note: One sentence on the result of the stage.
    """

    stage: Stage
    title: str
    metrics: SplitMetrics
    interval: Interval
    change: Change | None
    improved: bool
    note: str


@dataclass(frozen=True)
class Content:
    """What the page shows.

    Attributes:
        split: The evaluated split; None if nothing was evaluated.
        chosen: The stage whose network the page describes; None if nothing was evaluated.
        stages: Accuracy of each stage on ``split``.
        counts: Number of photos of each split.
        findings: Observations about the photos, most serious first.
        bars: Accuracy of each class.
        confusion: Which classes are confused.
        mistakes: The most confident mistakes on ``split``.
        suspected: Every photo whose label is probably wrong, in all splits.
        cross_validated: Whether training photos were judged by networks that have not seen them.
        suspected_cards: Cards of the first suspected photos that are not among the mistakes.
        reliability: Reliability of the probabilities on ``split``.
        mean_recall: Mean over the classes of the fraction of correct predictions.
    """

    split: Split | None
    chosen: Stage | None
    stages: tuple[StageResult, ...]
    counts: dict[Split, int]
    findings: tuple[Finding, ...]
    bars: ClassBars
    confusion: Confusion
    mistakes: tuple[Card, ...]
    suspected: tuple[Prediction, ...]
    cross_validated: bool
    suspected_cards: tuple[Card, ...]
    reliability: Reliability | None
    mean_recall: float | None


def read_content(run: Run, metrics: Metrics) -> Content:
    """The page's content, from data.csv, metrics.json and predictions.csv.

    Raises:
        ModelFileError: A file of the run is damaged.
    """
    data = run.data()
    predictions = run.predictions()
    chosen = chosen_stage(metrics, predictions)
    of_chosen = [one for one in predictions if one.stage == chosen]
    split = next((s for s in _BY_TRUST if any(one.split == s for one in of_chosen)), None)
    evaluated = [one for one in of_chosen if one.split == split]
    trained = dict(zip(data.class_names, data.counts("train"), strict=True))
    label_check = run.label_check()
    learned = label_check or [one for one in of_chosen if one.split == "train"]
    judged = {one.file for one in learned}
    suspected = suspected_labels(learned, [one for one in of_chosen if one.file not in judged])
    mistakes = cards(most_confident_mistakes(evaluated), data.folder, suspected)
    shown = {card.prediction.file for card in mistakes}
    others = [one for one in suspected if one.file not in shown]
    return Content(
        split=split,
        chosen=chosen,
        stages=stage_results(metrics, predictions, split),
        counts={name: len(data.of(name)) for name in _BY_TRUST},
        findings=data.findings,
        bars=class_bars(data.class_names, evaluated, trained),
        confusion=confusion(data.class_names, evaluated),
        mistakes=tuple(mistakes),
        suspected=tuple(suspected),
        cross_validated=bool(label_check),
        suspected_cards=tuple(cards(others[:MOST_CARDS], data.folder, suspected)),
        reliability=reliability(
            np.array([one.probability for one in evaluated], np.float64),
            np.array([one.prediction == one.label for one in evaluated], np.bool_),
        ),
        mean_recall=_mean_recall(evaluated),
    )


def chosen_stage(metrics: Metrics, predictions: Sequence[Prediction]) -> Stage | None:
    """The last stage with predictions whose network was kept; None without predictions."""
    predicted = {one.stage for one in predictions}
    improved = {record.stage for record in metrics.stages if record.improved}
    stages = [stage for stage in STAGES if stage in predicted]
    return next((stage for stage in reversed(stages) if stage in improved or not improved), None)


def stage_results(
    metrics: Metrics, predictions: Sequence[Prediction], split: Split | None
) -> tuple[StageResult, ...]:
    """Accuracy of each stage that was measured on ``split``, in the order of the training."""
    results = []
    notes = {record.stage: record for record in metrics.stages}
    for stage in STAGES:
        measured = None if split is None else metrics.of(stage, split)
        if measured is None:
            continue
        record = notes.get(stage)
        results.append(
            StageResult(
                stage,
                TITLES[stage],
                measured,
                wilson(round(measured.top1 * measured.n), measured.n),
                None if stage == "head" else change(predictions, "head", stage, measured.split),
                record is None or record.improved,
                "" if record is None else record.note,
            )
        )
    return tuple(results)


def change(
    predictions: Sequence[Prediction], before: Stage, after: Stage, split: Split
) -> Change | None:
    """Difference of two stages on the photos of ``split`` that both predicted, else None."""
    right = {
        stage: {
            one.file: one.prediction == one.label
            for one in predictions
            if one.stage == stage and one.split == split
        }
        for stage in (before, after)
    }
    files = right[before].keys() & right[after].keys()
    if not files:
        return None
    lost = sum(right[before][file] and not right[after][file] for file in files)
    gained = sum(right[after][file] and not right[before][file] for file in files)
    low, high = paired_difference(gained, lost, len(files))
    points = 100 * (gained - lost) / len(files)
    return Change(TITLES[before], points, (100 * low, 100 * high), len(files))


def _mean_recall(predictions: Sequence[Prediction]) -> float | None:
    photos = Counter(one.label for one in predictions)
    right = Counter(one.label for one in predictions if one.prediction == one.label)
    return float(np.mean([right[name] / photos[name] for name in photos])) if photos else None
