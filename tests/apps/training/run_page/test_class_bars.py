"""Classes by accuracy, and the confusion of few and of many classes."""

from __future__ import annotations

from edge_effnet.apps.training.metrics import Prediction
from edge_effnet.apps.training.run_page.class_bars import MOST_BARS, class_bars, confusion


def rows(*pairs: tuple[str, str]) -> list[Prediction]:
    return [
        Prediction(f"{number}", "test", label, predicted, 0.9, 0.1, "head")
        for number, (label, predicted) in enumerate(pairs)
    ]


def test_the_lowest_class_leads_with_what_it_is_taken_for() -> None:
    predictions = rows(("a", "a"), ("a", "b"), ("a", "c"), ("a", "c"), ("b", "b"), ("c", "a"))
    bars = class_bars(("a", "b", "c", "d"), predictions, {"a": 7})
    assert [(bar.name, bar.photos, bar.right, bar.taken_for) for bar in bars.bars] == [
        ("c", 1, 0, ("a", 1)),
        ("a", 4, 1, ("c", 2)),
        ("b", 1, 1, None),
    ]
    assert [bar.trained for bar in bars.bars] == [0, 7, 0]
    assert (bars.total, bars.without) == (3, ("d",))


def test_of_many_classes_those_with_evidence_are_shown() -> None:
    """One wrong photo of one says less than thirty wrong ones of forty."""
    pairs = [("bad", "good")] * 30 + [("bad", "bad")] * 10
    names = [f"single {number}" for number in range(60)]
    pairs += [(name, "good") for name in names]
    bars = class_bars(["bad", "good", *names], rows(*pairs), {})
    assert len(bars.bars) == MOST_BARS
    assert "bad" in [bar.name for bar in bars.bars]
    assert (bars.total, bars.without) == (61, ("good",))


def test_the_matrix_counts_label_by_prediction() -> None:
    predictions = rows(("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"))
    assert confusion(("a", "b"), predictions).counts == ((1, 1), (0, 2))


def test_of_many_classes_the_most_frequent_mistakes() -> None:
    names = [f"c{number}" for number in range(30)]
    mistakes = confusion(names, rows(("c1", "c2"), ("c1", "c2"), ("c0", "c0"), ("c3", "c1")))
    assert mistakes.names == ()
    assert mistakes.pairs == (("c1", "c2", 2), ("c3", "c1", 1))
