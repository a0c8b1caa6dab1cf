"""Cards of photos: the most confident mistakes, and photos whose label is probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_effnet.apps.training.metrics import Prediction
from edge_effnet.benchmarks.reporting.html import thumbnail
from edge_effnet.errors import EdgeEffNetError

#: Photos of each gallery, and rows of the list of suspected labels.
MOST_CARDS, MOST_ROWS = 12, 200
_SIDE = 240  # pixels of a thumbnail's longest side


@dataclass(frozen=True)
class Card:
    """A photo with its prediction.

    Attributes:
        prediction: The prediction.
        thumbnail: The picture as a data URI; None if the photo cannot be read.
        suspected: Whether its label is probably wrong.
    """

    prediction: Prediction
    thumbnail: str | None
    suspected: bool


def most_confident_mistakes(predictions: Sequence[Prediction]) -> list[Prediction]:
    """At most `MOST_CARDS` wrong predictions, highest probability first."""
    wrong = [one for one in predictions if one.prediction != one.label]
    return sorted(wrong, key=lambda one: (-one.probability, one.file))[:MOST_CARDS]


def cards(
    predictions: Sequence[Prediction], folder: Path, suspected: Sequence[Prediction]
) -> list[Card]:
    """A card per prediction, with a thumbnail of the photo in ``folder`` if it can be read."""
    names = {one.file for one in suspected}
    return [Card(one, _thumbnail(folder / one.file), one.file in names) for one in predictions]


def _thumbnail(path: Path) -> str | None:
    """The picture; None if the photo was moved, removed or damaged since the training."""
    try:
        return thumbnail(path, _SIDE)
    except (EdgeEffNetError, OSError):
        return None
