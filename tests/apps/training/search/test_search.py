"""The search: rewards of the papers, evolution that repeats, and what the command prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge_effnet.apps.training.search.estimate import from_curve, imbalance
from edge_effnet.apps.training.search.evolution import evolve
from edge_effnet.apps.training.search.reward import Reward
from edge_effnet.apps.training.search.search import WINDOW, SearchResult, search
from edge_effnet.apps.training.search.sheet import train_command
from edge_effnet.apps.training.search.space import Space
from edge_effnet.benchmarks.prediction.accuracy_curve import accuracy_curve
from edge_effnet.errors import UsageError
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.reshaping import Reshaping
from edge_effnet.scaling import B0_COEFFICIENTS, scale
from support.command import call, done, refused
from support.latency_models import latency_model, runtime

LITE0 = get_variant("lite0")
RUNTIME = runtime(pointwise__multiply_adds=0.01, network__call=0.2)


def run(space: Space | None = None, **settings: Any) -> SearchResult:
    space = space or Space(LITE0)
    curve = accuracy_curve(space.base)
    settings = {"target_ms": 4.0, "trials": 60, **settings}
    return search(space, RUNTIME, from_curve(space, curve), **settings)


@pytest.mark.parametrize(
    ("objective", "latency", "params", "expected"),
    [
        ("mnasnet", 80, 4e6, 0.75),
        ("mnasnet", 160, 4e6, 0.75 * 2**-0.07),
        ("mnasnet", 40, 4e6, 0.75 * 0.5**-0.07),
        ("mnasnet-hard", 40, 4e6, 0.75),
        ("mnasnet-hard", 160, 4e6, 0.375),
        ("efficientnetv2", 160, 8e6, 0.75 * 2**-0.07 * 2**-0.05),
    ],
)
def test_rewards_are_those_of_the_papers(
    objective: Any, latency: float, params: int, expected: float
) -> None:
    assert Reward(objective, 80.0, 4_000_000)(0.75, latency, params) == pytest.approx(expected)


def test_soft_rewards_weigh_twice_the_latency_as_five_percent() -> None:
    """MnasNet, section 3: doubling the latency is worth 5 % relative accuracy."""
    reward = Reward("mnasnet", 80.0, 1)
    assert reward(0.5, 80, 1) == pytest.approx(reward(0.5 * 1.05, 160, 1), rel=2e-3)


def test_imbalance_costs_what_table_7_says() -> None:
    """B0 with four times the multiply-adds: 79.0, 78.9 and 79.1 % against 81.1 %."""
    base = get_variant("b0")
    space = Space(base)
    estimate = from_curve(space, accuracy_curve(base))
    names = {"depth": 4.0, "width": 2.0, "resolution": 2.0}
    variants = {name: scale(base, **{name: factor}) for name, factor in names.items()}
    compound = {"compound": scale(base, depth=1.4, width=1.2, resolution=1.3)}
    top1 = estimate({**variants, **compound})
    for name, published in {"depth": 2.1, "width": 2.2, "resolution": 2.0}.items():
        lost = 100 * (
            accuracy_curve(base).top1(build(variants[name]).multiply_adds) / 100 - top1[name]
        )
        assert lost == pytest.approx(published, abs=0.7), name
    c = B0_COEFFICIENTS
    assert imbalance(c.alpha, c.beta, c.gamma) == pytest.approx(0, abs=1e-12)
    assert imbalance(c.alpha**-2, c.beta**-2, c.gamma**-2) == pytest.approx(0, abs=1e-12)


def reward_of(shape: Reshaping) -> float:
    return -abs(shape.width - 1.4) - abs(shape.depth - 0.6) - abs(shape.side - 176) / 100


def test_evolution_repeats_and_improves() -> None:
    """On a known reward: the same proposals every time, each once, and better than chance."""
    space = Space(LITE0)

    def rewards(seed: int, backwards: bool = False) -> dict[str, float]:
        every: dict[str, float] = {}

        def evaluate(shapes: Mapping[str, Reshaping]) -> dict[str, float]:
            assert not set(shapes) & set(every)
            items = list(shapes.items())
            of = {name: reward_of(shape) for name, shape in (items[::-1] if backwards else items)}
            every.update(of)
            return of

        evolve(space, evaluate, 120, seed)
        return every

    first = rewards(0)
    assert rewards(0) == first
    assert rewards(0, backwards=True) == first
    assert rewards(1) != first
    assert len(first) == 120
    assert next(iter(first)) == "efficientnet-lite0-d1-w1-r224"
    random = Random(0)
    chance = [max(reward_of(space.sample(random)) for _ in range(120)) for _ in range(15)]
    wins = [max(rewards(seed).values()) for seed in range(15)]
    assert sum(wins) > sum(chance)
    assert max(first.values()) > -0.25


def test_a_small_space_ends_the_search() -> None:
    evaluated: list[str] = []

    def evaluate(shapes: Mapping[str, Reshaping]) -> dict[str, float]:
        evaluated.extend(shapes)
        return dict.fromkeys(shapes, 1.0)

    evolve(Space(LITE0, ("depth",)), evaluate, 1000, 0)
    assert len(evaluated) == len(set(evaluated)) == 15


def test_the_choice_is_within_the_budget_and_the_best_there() -> None:
    result = run()
    best = result.best
    assert best is not None
    assert best.latency_ms <= 4.0
    assert best.reward == max(t.reward for t in result.trials if t.latency_ms <= 4.0)
    low, high = (factor * 4.0 for factor in WINDOW)
    for trial in result.trials:
        assert low <= trial.latency_ms <= high
        graph = build(trial.variant)
        assert (trial.params, trial.multiply_adds) == (graph.params, graph.multiply_adds)
    for slow, fast in zip(result.front[1:], result.front, strict=False):
        assert slow.latency_ms > fast.latency_ms
        assert slow.top1 > fast.top1
    assert len({trial.variant.name for trial in result.trials}) == len(result.trials) == 60
    assert run() == result
    assert run(seed=1) != result


def test_a_soft_reward_may_choose_a_faster_network() -> None:
    soft, hard = run(objective="mnasnet").best, run(objective="mnasnet-hard").best
    assert soft is not None
    assert hard is not None
    assert soft.latency_ms < hard.latency_ms
    assert soft.top1 < hard.top1


def test_trainings_that_fail_are_named() -> None:
    def accuracy(variants: Mapping[str, Any]) -> dict[str, float]:
        return {name: 0.5 for name in variants if "-w1-" not in name}

    result = search(Space(LITE0), RUNTIME, accuracy, target_ms=4.0, trials=30)
    assert result.failures
    assert all("-w1-" in name for name in result.failures)
    assert len(result.trials) + len(result.failures) == 30


@pytest.mark.parametrize("budget", [0.01, 1e6, float("nan"), -1.0])
def test_impossible_budgets_are_refused(budget: float) -> None:
    with pytest.raises(UsageError, match=r"takes about|leaves no time"):
        run(target_ms=budget)


def test_the_command_prints_the_front_and_the_next_command(tmp_path: Path) -> None:
    model = latency_model(RUNTIME).save(tmp_path / "pi.json")
    line = ["search", "--dry-run", "--budget-ms", "4", "--latency-model", str(model)]
    printed = done(call(*line, "--trials", "40"))
    best = run(trials=40).best
    assert best is not None
    name = best.variant.short_name
    assert f"\n* {name} " in printed
    assert f"next: edge-effnet train photos/ --variant {name} --out run/\n" in printed
    written = json.loads(done(call(*line, "--trials", "40", "--json", "-")))
    assert written["best"] == best.as_json()
    assert len(written["trials"]) == 40
    assert written["trials"][0]["variant"] == "efficientnet-lite0-d1-w1-r224"
    other = done(call(*line, "--trials", "9", "--base", "v2-b0-hswish"))
    assert "-hswish --weights CHECKPOINT --out run/" in other


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    model = latency_model(RUNTIME).save(tmp_path / "pi.json")
    line = ["search", "--budget-ms", "4", "--latency-model", str(model), "--dry-run"]
    assert "nothing is published of a family of resnet-50" in refused(
        call(*line, "--base", "resnet-50")
    )
    assert "unknown dimension 'hue'" in refused(call(*line, "--dimensions", "depth,hue"))
    assert "holds no onnx int8" in refused(call(*line, "--format", "onnx"))
    assert "takes about 0.001 ms" in refused(call(*line[:2], "0.001", *line[3:]))


def test_a_training_command_has_the_weights() -> None:
    assert train_command(get_variant("lite0-d1-w1-r192"), "imagenet") == (
        "edge-effnet train photos/ --variant lite0-d1-w1-r192 --out run/"
    )
    assert train_command(get_variant("v2-b0-d1-w1-r192"), "my own.pth", "my photos") == (
        "edge-effnet train 'my photos' --variant v2-b0-d1-w1-r192 --weights 'my own.pth' --out run/"
    )
