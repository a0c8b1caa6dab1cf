"""Accuracy of each class, and which classes are confused, from the predictions of one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_effnet.apps.training.metrics import Prediction
from edge_effnet.statistics import Interval, wilson

#: Limits of the page: bars, classes of the matrix, listed pairs of classes, listed names.
MOST_BARS, MOST_MATRIX, MOST_PAIRS, MOST_NAMES = 30, 20, 15, 12


@dataclass(frozen=True)
class ClassBar:
    """One class: its photos, the correct ones, and what the others are taken for most often.

    Attributes:
        name: Name of the class.
        trained: Number of training photos.
        photos: Number of evaluated photos, at least 1.
        right: Number of correct predictions.
        taken_for: (predicted class, photos) of its most frequent mistake, or None.
    """

    name: str
    trained: int
    photos: int
    right: int
    taken_for: tuple[str, int] | None

    @property
    def share(self) -> float:
        """Fraction of correct predictions, the recall of the class."""
        return self.right / self.photos

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of `share`."""
        return wilson(self.right, self.photos)


@dataclass(frozen=True)
class ClassBars:
    """Bars of the classes, lowest accuracy first.

    Attributes:
        bars: At most `MOST_BARS` classes.
        total: Number of classes with evaluated photos.
        without: Names of the classes without evaluated photos.
    """

    bars: tuple[ClassBar, ...]
    total: int
    without: tuple[str, ...]


def class_bars(
    class_names: Sequence[str], predictions: Sequence[Prediction], trained: Mapping[str, int]
) -> ClassBars:
    """Accuracy of each class.

    With more classes than `MOST_BARS`, those whose interval ends lowest are shown: a class of one
    photo that is wrong says less than one of twenty photos of which half are wrong.

    Args:
        class_names: Names of all classes.
        predictions: Predictions of one stage on one split.
        trained: Number of training photos by class name.
    """
    photos = Counter(one.label for one in predictions)
    mistakes: dict[str, Counter[str]] = {name: Counter() for name in class_names}
    for one in predictions:
        if one.prediction != one.label:
            mistakes[one.label][one.prediction] += 1
    bars = [
        ClassBar(
            name,
            trained.get(name, 0),
            photos[name],
            photos[name] - sum(mistakes[name].values()),
            min(mistakes[name].items(), key=lambda pair: (-pair[1], pair[0]), default=None),
        )
        for name in class_names
        if photos[name]
    ]
    shown = sorted(bars, key=lambda bar: bar.interval[1])[:MOST_BARS]  # stable: in class order
    return ClassBars(
        tuple(sorted(shown, key=lambda bar: bar.share)),
        len(bars),
        tuple(name for name in class_names if not photos[name]),
    )


@dataclass(frozen=True)
class Confusion:
    """Photos by label and prediction: a matrix, or the most frequent mistakes of many classes.

    Attributes:
        names: Classes of the rows and columns; empty if there are too many.
        counts: Number of photos by label (rows) and prediction (columns).
        pairs: (label, prediction, photos), most frequent first, if there is no matrix.
    """

    names: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[tuple[str, str, int], ...] = ()


def confusion(class_names: Sequence[str], predictions: Sequence[Prediction]) -> Confusion:
    """Confusion matrix of at most `MOST_MATRIX` classes; of more, the most frequent mistakes."""
    counts = Counter((one.label, one.prediction) for one in predictions)
    if len(class_names) <= MOST_MATRIX:
        matrix = tuple(tuple(counts[row, column] for column in class_names) for row in class_names)
        return Confusion(tuple(class_names), matrix)
    mistakes = [(*pair, number) for pair, number in counts.items() if pair[0] != pair[1]]
    mistakes.sort(key=lambda mistake: (-mistake[2], mistake[:2]))
    return Confusion(pairs=tuple(mistakes[:MOST_PAIRS]))
