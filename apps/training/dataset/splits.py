"""Seeded, stratified splits; photos that look alike stay in one split."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from edge_effnet.apps.training.samples import Split

#: Shares of the validation and test splits of photos without splits.
VAL_SHARE, TEST_SHARE = 0.15, 0.15
#: Share of the training photos that become the validation split, if only it is missing.
VAL_OF_TRAIN = 0.2


def split_photos(
    labels: Sequence[Hashable],
    groups: Sequence[int],
    fixed: Sequence[Split | None],
    seed: int,
) -> list[Split]:
    """The split of each photo.

    Photos without a split are divided class by class. If only the validation split is missing, it
    is taken from the training split. A missing test split beside an existing validation split stays
    missing. Each class with two photos has one in the validation split, and each class with three
    photos one in the test split.

    Args:
        labels: Class of each photo.
        groups: Group of each photo; a group is never divided.
        fixed: Split of each photo that has one; None for all photos, or for none.
        seed: Seed of the division.

    Returns:
        A split per photo; the same for the same arguments.
    """
    splits: list[Split] = [split or "train" for split in fixed]
    if "val" in fixed:
        return splits
    shares: list[tuple[Split, float]] = [("val", VAL_OF_TRAIN)]
    if not any(fixed):
        shares = [("test", TEST_SHARE), ("val", VAL_SHARE)]
    for label in dict.fromkeys(labels):
        members = [i for i, name in enumerate(labels) if name == label and splits[i] == "train"]
        for split, chosen in _drawn(members, groups, shares, seed).items():
            for index in chosen:
                splits[index] = split
    return splits


def _drawn(
    members: Sequence[int], groups: Sequence[int], shares: Sequence[tuple[Split, float]], seed: int
) -> dict[Split, list[int]]:
    """Members of one class for each split in ``shares``; the others stay in the training split."""
    by_group: dict[int, list[int]] = {}
    for index in members:
        by_group.setdefault(groups[index], []).append(index)
    grouped = list(by_group.values())
    pools = [grouped[i] for i in np.random.default_rng(seed).permutation(len(grouped))]
    drawn: dict[Split, list[int]] = {}
    # The validation split comes first, because training needs it even with two photos.
    for split, share in reversed(shares):
        wanted = max(1, round(share * len(members)))
        chosen: list[int] = []
        while len(pools) > 1 and len(chosen) < wanted:
            position = next(
                (i for i, pool in enumerate(pools) if len(chosen) + len(pool) <= wanted), None
            )
            if position is None:
                if chosen:
                    break
                position = min(range(len(pools)), key=lambda i: len(pools[i]))
            chosen += pools.pop(position)
        drawn[split] = chosen
    return drawn
