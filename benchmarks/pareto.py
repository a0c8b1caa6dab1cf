"""The Pareto front of measured files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def pareto_front(
    items: Iterable[T], cost: Callable[[T], float], gain: Callable[[T], float]
) -> list[T]:
    """The items that no other item dominates in cost and gain, sorted by cost.

    If items have the same cost and gain, only the first is kept.
    """
    front: list[T] = []
    for item in sorted(items, key=lambda one: (cost(one), -gain(one))):
        if not front or gain(item) > gain(front[-1]):
            front.append(item)
    return front
