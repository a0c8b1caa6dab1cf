"""Splits: stratified, seeded, and never through a group of photos that look alike."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.apps.training.dataset.splits import split_photos


def test_shares_of_each_class_and_seeds() -> None:
    labels = ["a"] * 100 + ["b"] * 20
    splits = split_photos(labels, range(120), [None] * 120, 0)
    assert Counter(zip(labels, splits, strict=True)) == {
        ("a", "train"): 70, ("a", "val"): 15, ("a", "test"): 15,
        ("b", "train"): 14, ("b", "val"): 3, ("b", "test"): 3,
    }  # fmt: skip
    assert splits == split_photos(labels, range(120), [None] * 120, 0)
    assert splits != split_photos(labels, range(120), [None] * 120, 1)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2, {"train": 1, "val": 1}), (3, {"train": 1, "val": 1, "test": 1}), (1, {"train": 1})],
)
def test_tiny_classes(count: int, expected: dict[str, int]) -> None:
    assert Counter(split_photos(["a"] * count, range(count), [None] * count, 0)) == expected


def test_fixed_splits_are_kept_and_only_validation_is_drawn() -> None:
    fixed = ["train"] * 10 + ["test"] * 5
    splits = split_photos(["a"] * 15, range(15), fixed, 0)
    assert splits[10:] == ["test"] * 5
    assert Counter(splits[:10]) == {"train": 8, "val": 2}
    with_val = [*fixed[:-1], "val"]
    assert split_photos(["a"] * 15, range(15), with_val, 0) == with_val


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20)), min_size=1, max_size=60))
def test_groups_are_never_divided(photos: list[tuple[str, int]]) -> None:
    labels = [label for label, _ in photos]
    groups = [group * 2 + (label == "b") for label, group in photos]
    splits = split_photos(labels, groups, [None] * len(photos), 0)
    split_of_group = dict(zip(groups, splits, strict=True))
    assert [split_of_group[group] for group in groups] == splits
    assert {label for label, split in zip(labels, splits, strict=True) if split == "train"} == {
        *labels
    }
