"""Confident learning finds flipped labels, and spares honest mistakes."""

from __future__ import annotations

from pathlib import Path

from edge_effnet.apps.training.metrics import Prediction
from edge_effnet.apps.training.run_page.suspected_labels import suspected_labels
from edge_effnet.apps.training.samples import Split
from support.training_runs import colour_run


def row(
    file: str, label: str, predicted: str, p: float, of_label: float, split: Split = "test"
) -> Prediction:
    return Prediction(file, split, label, predicted, p, of_label, "head")


def test_flipped_labels_are_suspected_and_no_others(tmp_path: Path) -> None:
    """Eight test photos of the first class show the second one's colour.

    The threshold is a mean, so that about half of the flipped labels are above it.
    """
    run = colour_run(tmp_path, parts=("test", "train", "val"), repeats=16, noise=9.0, wrong=22)
    rows = [one for one in run.predictions() if one.stage == "fine_tuning" and one.split == "test"]
    flipped = {f"000/{number:03}.png" for number in range(0, 22, 3)}
    names = {one.file for one in suspected_labels(rows)}
    assert names <= flipped
    assert len(names) >= 3


def test_a_mistake_below_the_usual_probability_is_no_suspicion() -> None:
    usual = [row(f"{n}", "b", "b", 0.9, 0.9) for n in range(4)]
    unsure = row("x", "a", "b", 0.6, 0.4)
    sure, surer = row("y", "a", "b", 0.92, 0.05), row("z", "a", "b", 0.99, 0.01)
    assert suspected_labels([*usual, unsure, sure, surer]) == [surer, sure]


def test_each_group_has_thresholds_of_its_own() -> None:
    learned = [row(f"{n}", "b", "b", 0.99, 0.99, "train") for n in range(4)]
    unseen = [row(f"t{n}", "b", "b", 0.7, 0.7) for n in range(4)]
    in_training = row("x", "a", "b", 0.8, 0.1, "train")
    in_test = row("y", "a", "b", 0.8, 0.1)
    assert suspected_labels([*learned, in_training], [*unseen, in_test]) == [in_test]
    assert suspected_labels([*learned, *unseen, in_training, in_test]) == []


def test_a_class_without_photos_of_its_own_suspects_nothing() -> None:
    assert suspected_labels([row("x", "a", "b", 1.0, 0.0)]) == []
    assert suspected_labels([]) == []
