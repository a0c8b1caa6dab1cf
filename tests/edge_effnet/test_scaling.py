"""Compound scaling: the published rounding, the constraint, and the grid search."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.baselines import BASELINES
from edge_effnet.errors import UsageError
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.scaling import (
    B0_COEFFICIENTS,
    Coefficients,
    Trial,
    coefficient_candidates,
    compound,
    scale,
    search,
)
from edge_effnet.variants import VARIANTS, Variant
from support.command import call, done, refused


@pytest.mark.parametrize("name", ["b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "l2"])
def test_the_released_networks_are_scalings_of_b0(name: str) -> None:
    """Their widths, depths and sides, given to `scale`, build the very same graphs."""
    released, base = get_variant(name), get_variant("b0")
    factor = released.resolution / base.resolution
    made = scale(base, depth=released.depth, width=released.width, resolution=factor)
    assert made.resolution == released.resolution
    assert build(made) == build(released)


@pytest.mark.parametrize(
    ("phi", "name", "side"), [(0.5, "b1", 240), (1, "b2", 256), (2, "b3", 296)]
)
def test_phi_comes_near_the_released_networks(phi: float, name: str, side: int) -> None:
    made = compound(get_variant("b0"), phi)
    assert made.resolution == side
    assert build(made).params == pytest.approx(build(get_variant(name)).params, rel=0.1)


def test_published_coefficients_keep_the_constraint() -> None:
    assert Coefficients(1.2, 1.1, 1.15) == B0_COEFFICIENTS  # arXiv 1905.11946, section 4
    assert B0_COEFFICIENTS.growth == pytest.approx(1.2 * 1.21 * 1.3225)
    assert B0_COEFFICIENTS in list(coefficient_candidates())


@pytest.mark.parametrize("base", [*("b0", "lite0", "v2-s", "edgetpu-s"), *BASELINES])
def test_any_base_network_scales(base: str) -> None:
    before, after = get_variant(base), compound(get_variant(base), 2)
    small, large = build(before), build(after)
    assert after.name == f"{before.name}-phi2"
    assert after.published is None
    assert 2.5 < large.multiply_adds / small.multiply_adds < 6  # 2^2, and what rounding up adds
    assert large.params > small.params
    assert large.shapes[large.output] == (1000,)


@given(st.floats(-1.0, 2.0))
def test_multiply_adds_grow_with_phi(phi: float) -> None:
    more = build(compound(get_variant("b0"), phi + 0.5)).multiply_adds
    assert build(compound(get_variant("b0"), phi)).multiply_adds <= more


@given(st.sampled_from([*VARIANTS, *BASELINES]))
def test_factors_of_one_change_nothing(name: str) -> None:
    assert build(scale(get_variant(name))) == build(get_variant(name))


@given(st.floats(0.2, 4.0), st.floats(0.2, 3.0), st.floats(0.3, 3.0))
def test_every_scaling_is_a_network(depth: float, width: float, resolution: float) -> None:
    made = scale(get_variant("b0"), depth=depth, width=width, resolution=resolution)
    assert made.resolution % 4 == 0
    assert abs(made.resolution - 224 * resolution) <= 2 + 1e-9
    for before, after in zip(get_variant("b0").stages, made.scaled_stages(), strict=True):
        assert after.channels % 8 == 0
        assert after.channels >= 0.9 * before.channels * width
        assert after.repeats == math.ceil(before.repeats * depth)
    assert build(made).output == "classifier"


def test_scaled_networks_scale_further() -> None:
    twice = scale(scale(get_variant("b0"), depth=1.5, width=1.2), depth=2, width=1.5)
    assert (twice.depth, twice.width) == pytest.approx((3.0, 1.8))


@pytest.mark.parametrize("factor", [0.0, -1.0, 101.0, math.nan, math.inf])
@pytest.mark.parametrize("what", ["depth", "width", "resolution"])
def test_impossible_factors(what: str, factor: float) -> None:
    with pytest.raises(UsageError, match=f"a {what} of .* above 0 and up to 100"):
        scale(get_variant("b0"), **{what: factor})
    with pytest.raises(UsageError, match="phi must be a number from -20 to 20"):
        compound(get_variant("b0"), factor if abs(factor) > 20 else math.nan)


# The grid search


@pytest.mark.parametrize(("step", "tolerance"), [(0.05, 0.1), (0.1, 0.25), (0.25, 0.02)])
def test_the_grid_is_all_that_keeps_the_constraint(step: float, tolerance: float) -> None:
    found = set(coefficient_candidates(step, tolerance))
    counts = range(round(1.4 / step) + 1)
    every = {
        Coefficients(*(round(1 + count * step, 9) for count in (a, b, c)))
        for a in counts
        for b in counts
        for c in counts
    }
    assert found == {point for point in every if abs(point.growth - 2) <= tolerance}


def test_search_finds_the_best() -> None:
    """A score with one summit on the grid: the published coefficients."""
    asked: list[Variant] = []

    def score(variant: Variant) -> float:
        asked.append(variant)
        off = (variant.depth - 1.2, variant.width - 1.1, variant.resolution / 224 - 1.15)
        return -sum(x**2 for x in off)

    steps: list[tuple[int, int]] = []
    trials = search(
        get_variant("b0"), score, progress=lambda _, done, total: steps.append((done, total))
    )
    assert trials[0].coefficients == B0_COEFFICIENTS
    assert trials[0].variant.depth == 1.2
    assert [trial.score for trial in trials] == sorted((t.score for t in trials), reverse=True)
    assert len(asked) == len(trials) == len(list(coefficient_candidates()))
    assert steps == [(done, len(trials)) for done in range(1, len(trials) + 1)]


def test_equal_scores_go_by_the_constraint() -> None:
    trials = search(get_variant("mobilenet-v1"), lambda variant: 1.0, step=0.1, tolerance=0.2)
    off = [abs(trial.coefficients.growth - 2) for trial in trials]
    assert off == sorted(off)
    assert isinstance(trials[0], Trial)


def test_searches_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="smaller steps or a larger tolerance"):
        search(get_variant("b0"), lambda variant: 0.0, step=0.9, tolerance=0.01)
    with pytest.raises(UsageError, match="above 0"):
        search(get_variant("b0"), lambda variant: 0.0, step=0.0)
    with pytest.raises(UsageError, match="not a number"):
        search(get_variant("b0"), lambda variant: math.nan)


# On the command line


def test_info_of_a_scaled_network() -> None:
    shown = json.loads(done(call("info", "b0", "--phi", "1", "--json", "-")))
    graph = build(compound(get_variant("b0"), 1))
    assert (shown["params"], shown["flops"]) == (graph.params, graph.multiply_adds)
    assert shown["input_size"] == 256
    shown = json.loads(done(call("info", "resnet50", "--width", "2", "--json", "-")))
    assert shown["flops"] == build(scale(get_variant("resnet-50"), width=2)).multiply_adds


def test_info_refuses_what_cannot_be_scaled() -> None:
    assert "above 0 and up to 100" in refused(call("info", "b0", "--depth", "1e9"))
    assert "from -20 to 20" in refused(call("info", "b0", "--phi", "1e9"))
    assert "scale a variant, not a file" in refused(call("info", "some.onnx", "--phi", "1"))


def test_baselines_are_listed_when_asked_for() -> None:
    rows = json.loads(done(call("list", "--baselines", "--json", "-")))
    assert [row["name"] for row in rows] == list(BASELINES)
