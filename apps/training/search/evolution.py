"""Regularised evolution (Real et al. 2018, arXiv 1802.01548, algorithm 1), in rounds.

A round proposes several children at once, which can be evaluated in parallel. The proposals depend
on the seed and on the rewards of earlier rounds, but not on the order of the evaluations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from random import Random

from edge_effnet.apps.training.search.space import Space
from edge_effnet.reshaping import Reshaping

POPULATION, TOURNAMENT = 24, 6
ROUND = 8
_ATTEMPTS = 400  # proposals without a new network, after which the space counts as exhausted

#: Rewards of shapes by the name of their variant.
Rewards = Mapping[str, float]


def evolve(
    space: Space,
    evaluate: Callable[[Mapping[str, Reshaping]], Rewards],
    trials: int,
    seed: int,
    identity: Callable[[Reshaping], object | None] = lambda shape: shape,
) -> None:
    """Propose up to ``trials`` shapes, beginning with the base's; fewer if the space has fewer.

    Args:
        space: The search space.
        evaluate: Function of shapes by name to their rewards. Shapes without a reward failed.
        trials: Number of shapes.
        seed: Seed of all random choices.
        identity: Function of a shape. Shapes with equal results are the same network, of which one
            is proposed. Shapes with the result None are not proposed.
    """
    random = Random(seed)  # noqa: S311  (no secret)
    population: deque[tuple[Reshaping, float]] = deque(maxlen=POPULATION)
    proposed: set[object] = {None}
    first: list[Reshaping] = [space.base_shape]

    def candidate() -> Reshaping:
        if first:
            return first.pop()
        if len(population) < POPULATION:
            return space.sample(random)
        rivals = random.sample(list(population), TOURNAMENT)
        return space.mutate(max(rivals, key=lambda rival: rival[1])[0], random)

    remaining = trials
    while remaining:
        shapes: dict[str, Reshaping] = {}
        for _ in range(_ATTEMPTS):
            shape = candidate()
            key = identity(shape)
            if key not in proposed:
                proposed.add(key)
                shapes[space.variant(shape).name] = shape
            if len(shapes) == min(ROUND, remaining):
                break
        if not shapes:
            return
        rewards = evaluate(shapes)
        remaining -= len(shapes)
        population += [(shape, rewards[name]) for name, shape in shapes.items() if name in rewards]
