"""`search`: propose shapes, predict their latency, estimate their accuracy, and rank them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from edge_effnet.apps.training.search.evolution import evolve
from edge_effnet.apps.training.search.reward import Objective, Reward
from edge_effnet.apps.training.search.space import Space
from edge_effnet.benchmarks.pareto import pareto_front
from edge_effnet.benchmarks.prediction.latency_model import RuntimeModel, folded_graph
from edge_effnet.errors import UsageError
from edge_effnet.network import build
from edge_effnet.progress import Progress, ignore_progress
from edge_effnet.reshaping import Reshaping
from edge_effnet.variants import Variant

#: Candidates have latencies within these factors of the target. Slower ones are never chosen, and
#: trainings of much faster ones are of little use.
WINDOW = 0.25, 1.25

#: Function of variants by name to their top-1 as fractions; variants that failed are missing.
AccuracyEstimate = Callable[[Mapping[str, Variant]], Mapping[str, float]]


@dataclass(frozen=True)
class Trial:
    """One candidate.

    Attributes:
        variant: The candidate.
        latency_ms: Predicted latency of one inference at batch 1.
        params: Number of parameters.
        multiply_adds: Number of multiply-adds.
        top1: Estimated or measured top-1, a fraction.
        reward: The reward.
    """

    variant: Variant
    latency_ms: float
    params: int
    multiply_adds: int
    top1: float
    reward: float

    def as_json(self) -> dict[str, Any]:
        """Plain data; ``top1`` is a fraction."""
        return {
            "variant": self.variant.name,
            "depth": self.variant.depth,
            "width": self.variant.width,
            "input_size": self.variant.resolution,
            "params": self.params,
            "flops": self.multiply_adds,
            "latency_ms": round(self.latency_ms, 4),
            "top1": round(self.top1, 6),
            "reward": round(self.reward, 6),
        }


@dataclass(frozen=True)
class SearchResult:
    """All trials of a search, in the order of the proposals.

    Attributes:
        space: The search space.
        objective: Formula of the reward.
        target_ms: The latency target.
        trials: The trials.
        failures: Names of the candidates whose training failed.
    """

    space: Space
    objective: Objective
    target_ms: float
    trials: tuple[Trial, ...]
    failures: tuple[str, ...] = ()

    @property
    def front(self) -> list[Trial]:
        """The trials that no other one dominates in latency and top-1, fastest first."""
        return pareto_front(self.trials, lambda t: t.latency_ms, lambda t: t.top1)

    @property
    def best(self) -> Trial | None:
        """The trial with the highest reward within the target; None if no trial is."""
        within = [trial for trial in self.trials if trial.latency_ms <= self.target_ms]
        return max(within, key=lambda trial: trial.reward, default=None)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        best = self.best
        return {
            "base": self.space.base.name,
            "dimensions": list(self.space.dimensions),
            "objective": self.objective,
            "budget_ms": self.target_ms,
            "best": None if best is None else best.as_json(),
            "front": [trial.as_json() for trial in self.front],
            "trials": [trial.as_json() for trial in self.trials],
            "failures": list(self.failures),
        }


def search(
    space: Space,
    runtime: RuntimeModel,
    accuracy: AccuracyEstimate,
    *,
    target_ms: float,
    objective: Objective = "mnasnet-hard",
    trials: int,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> SearchResult:
    """Search a space for the network with the highest reward.

    Args:
        space: The search space.
        runtime: Latency model of the files' format and precision on the device.
        accuracy: Accuracy of the candidates; called once per round.
        target_ms: The latency target.
        objective: Formula of the reward.
        trials: Number of candidates.
        seed: Seed of all random choices. Equal arguments give equal results.
        progress: Called with ("search", done, total).

    Raises:
        UsageError: The target is not a latency, or no network of the space comes near it.
    """
    if not (math.isfinite(target_ms) and target_ms > 0):
        raise UsageError(
            f"a budget of {target_ms:g} ms leaves no time for any model",
            hint="give budget_ms= above 0",
        )
    reward = Reward(objective, target_ms, build(space.base).params)
    done: list[Trial] = []
    failures: list[str] = []
    rejected: list[float] = []

    @cache
    def latency(shape: Reshaping) -> float:
        return runtime.predict(folded_graph(space.variant(shape)))

    def identity(shape: Reshaping) -> object | None:
        low, high = (factor * target_ms for factor in WINDOW)
        if low <= latency(shape) <= high:
            return network_of(space.variant(shape))
        rejected.append(latency(shape))
        return None

    def evaluate(shapes: Mapping[str, Reshaping]) -> dict[str, float]:
        variants = {name: space.variant(shape) for name, shape in shapes.items()}
        top1 = accuracy(variants)
        rewards = {}
        for name, variant in variants.items():
            if name not in top1:
                failures.append(name)
                continue
            graph, time = build(variant), latency(shapes[name])
            rewards[name] = reward(top1[name], time, graph.params)
            trial = Trial(
                variant, time, graph.params, graph.multiply_adds, top1[name], rewards[name]
            )
            done.append(trial)
        progress("search", len(done) + len(failures), trials)
        return rewards

    evolve(space, evaluate, trials, seed, identity)
    if not done and not failures:
        raise UsageError(
            f"no {space.base.short_name} of this space takes about {target_ms:g} ms: the "
            f"candidates take {min(rejected):.3g} to {max(rejected):.3g} ms; give another budget "
            "or base, or search more dimensions"
        )
    return SearchResult(space, objective, target_ms, tuple(done), tuple(failures))


def network_of(variant: Variant) -> object:
    """A value that is equal for variants that are the same network after rounding."""
    return (
        variant.resolution,
        variant.scaled_stem,
        variant.scaled_head,
        variant.scaled_stages(),
        variant.activation,
    )
