"""Which epoch is best, and when training stops."""

from __future__ import annotations

import pytest
import torch

from edge_effnet.apps.training.fine_tuning.loop import Progressed
from edge_effnet.apps.training.fine_tuning.validation import Score, certainty
from edge_effnet.apps.training.metrics import EpochMetrics

HEAD = Score(0.8, 1.0, 0.5)


def best_epoch(*scores: tuple[float, float]) -> tuple[int, int]:
    """The best epoch of (accuracy, loss), 0 for the head, and from where patience counts."""
    progressed = Progressed(HEAD)
    for number, (top1, loss) in enumerate(scores, 1):
        row = EpochMetrics("fine_tuning", number, 0.0, loss, top1, 0.0, 64, 0.0)
        weights = {"epoch": torch.tensor(number)}
        progressed = progressed.after(row, Score(top1, 1.0, loss), weights)
    epoch = 0 if progressed.weights is None else int(progressed.weights["epoch"])
    return epoch, progressed.waiting_since


@pytest.mark.parametrize(
    ("scores", "best", "waiting"),
    [
        ([(0.7, 0.4)], 0, 1),  # a lower loss alone is not better than the head
        ([(0.8, 0.6)], 0, 1),  # the same accuracy with a higher loss
        ([(0.8, 0.4)], 1, 1),
        ([(0.9, 0.6), (0.85, 0.3)], 2, 2),  # the lowest loss of the epochs that beat the head
        ([(0.9, 0.3), (0.95, 0.4)], 1, 1),
        ([(0.9, 0.3), (0.7, 0.4), (0.7, 0.4)], 1, 1),
        ([(0.7, 0.9), (0.7, 0.8), (0.7, 0.7)], 0, 3),
    ],
)
def test_the_best_epoch(scores: list[tuple[float, float]], best: int, waiting: int) -> None:
    assert best_epoch(*scores) == (best, waiting)


def test_weights_of_the_best_epoch_are_copies() -> None:
    weights = {"a": torch.zeros(1)}
    row = EpochMetrics("fine_tuning", 1, 0.0, 0.1, 0.9, 0.0, 64, 0.0)
    progressed = Progressed(HEAD).after(row, Score(0.9, 1.0, 0.1), weights)
    weights["a"] += 1
    assert progressed.weights is not None
    assert progressed.weights["a"].item() == 0


@pytest.mark.parametrize(
    ("head", "tuned", "beats"),
    [
        ((0.9375, 0.16), (0.95, 0.20), False),  # one photo of 80 more, at a higher loss
        ((0.9375, 0.16), (0.9375, 0.12), True),
        ((0.9375, 0.16), (0.925, 0.12), True),  # one photo of 80 fewer, at a lower loss
        ((0.9375, 0.16), (0.90, 0.12), False),  # more than a standard error lower
        ((0.80, 0.60), (0.90, 0.70), True),  # eight photos more
    ],
)
def test_chance_beats_no_head(
    head: tuple[float, float], tuned: tuple[float, float], beats: bool
) -> None:
    """Raw losses do not count: they depend on the regularisation."""
    scores = [Score(top1, raw, loss, 80) for (top1, loss), raw in ((head, 0.1), (tuned, 0.9))]
    assert scores[1].beats(scores[0]) is beats


def test_the_certainty_undoes_a_temperature() -> None:
    """The best factor of logits that were divided by 2 is twice that of the logits."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    factor = certainty(logits, labels)
    assert factor == pytest.approx(1.0, abs=0.2)
    assert certainty(logits / 2, labels) == pytest.approx(2 * factor)
    assert certainty(logits, logits.argmax(1)) == pytest.approx(20.0)
