"""Draws: which photos, and which view of each, make up the steps of an epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.errors import UsageError

Integers = NDArray[np.int64]


def step_size(photos: int, recipe: Recipe, processes: int = 1) -> int:
    """Photos of one step, over all processes.

    It is the recipe's batch, or fewer if there are fewer photos. Each process has an even number of
    photos, because mixup combines pairs; without mixup and with one process any number is possible.

    Raises:
        UsageError: There are too few photos.
    """
    multiple = 2 * processes
    size = min(recipe.batch, photos) // multiple * multiple
    if not size:
        raise UsageError(
            f"{photos} training photos are too few for {processes} "
            f"{'process' if processes == 1 else 'processes'}: at least {multiple} are needed"
        )
    return size


def draw(
    labels: Integers, *, seed: int, epoch: int, size: int, views: int = 0, balanced: bool = False
) -> list[tuple[Integers, Integers]]:
    """Photos and views of each step of an epoch.

    Photos that do not fill a last step are left out; the order differs in each epoch, so these are
    other photos each time.

    Args:
        labels: Class of each photo.
        seed: Seed of the order.
        epoch: Number of the epoch.
        size: Photos per step.
        views: Number of views that exist of each photo; 0 for a new view in each epoch.
        balanced: Whether all classes are drawn equally often, with replacement.

    Returns:
        For each step, the photos' indices [size] and the numbers of their views [size].
    """
    rng = np.random.default_rng([seed, epoch])
    count = len(labels)
    if balanced:
        classes, members = np.unique(labels, return_inverse=True)
        share = 1.0 / (len(classes) * np.bincount(members))
        order = rng.choice(count, count, p=share[members])
    else:
        order = rng.permutation(count)
    order = order.astype(np.int64)
    numbers = (order + epoch) % views if views else np.full(count, epoch, np.int64)
    return [
        (order[start : start + size], numbers[start : start + size])
        for start in range(0, count - size + 1, size)
    ]
