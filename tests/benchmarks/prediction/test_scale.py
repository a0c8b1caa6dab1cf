"""Finalists, accuracy curves, scaling into a budget, and the papers' speed-ups."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.benchmarks.latency import host
from edge_effnet.benchmarks.prediction.accuracy_curve import accuracy_curve, expected_top1
from edge_effnet.benchmarks.prediction.latency_model import folded_graph
from edge_effnet.benchmarks.prediction.scale import AXES, scale_to_budget
from edge_effnet.benchmarks.records import Latency
from edge_effnet.benchmarks.selection import finalists
from edge_effnet.benchmarks.selection.select import Limits
from edge_effnet.benchmarks.suite.paper_speedups import (
    PAPER_SPEEDUPS,
    PaperSpeedup,
    measure,
    ratio,
    table,
)
from edge_effnet.errors import UsageError
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS
from support import RECORDED
from support.command import call, done, finding, refused
from support.latency_models import latency_model, runtime

MODEL = latency_model(
    runtime(pointwise__multiply_adds=0.01, depthwise3s1__moved=0.1),
    runtime("fp32", pointwise__multiply_adds=0.03, depthwise3s1__moved=0.1),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return MODEL.save(tmp_path / "p.json")


@pytest.mark.parametrize(("name", "within"), [("b0", 0.5), ("lite0", 0.5), ("v2-b0", 0.6)])
def test_curves_follow_the_ladder(name: str, within: float) -> None:
    found = accuracy_curve(get_variant(name))
    assert 0 < found.error < within
    assert len(found.members) >= 5
    top1s = [found.top1(adds) for adds in range(*found.span, (found.span[1] - found.span[0]) // 20)]
    assert top1s == sorted(top1s)


def test_a_curve_of_no_family() -> None:
    with pytest.raises(UsageError, match="nothing is published"):
        accuracy_curve(replace(get_variant("b0"), name="mine"))


def test_expected_top1() -> None:
    assert expected_top1(get_variant("lite0"), "int8") == 74.4  # as published
    assert 76 < (expected_top1(get_variant("b0"), "int8") or 0) < 77.1
    assert expected_top1(get_variant("b0"), "fp32", 300) == expected_top1(get_variant("b0")) == 77.1
    assert expected_top1(get_variant("lite0"), "fp32", 160) == pytest.approx(75.1 - 5, abs=0.7)
    assert expected_top1(replace(get_variant("b0"), published=None)) is None


@settings(max_examples=10)
@given(
    st.floats(1.0, 20.0), st.sampled_from(sorted(AXES)), st.sampled_from(["b0", "lite1", "v2-b0"])
)
def test_a_scaled_variant_fills_its_budget(budget: float, axis: str, base: str) -> None:
    try:
        found = scale_to_budget(MODEL, get_variant(base), budget, axis)
    except UsageError as error:
        reason = str(error)
        if "even" not in reason and "more than" not in reason:
            raise
        return
    graph = folded_graph(found.variant)
    assert MODEL.runtimes[0].predict(graph) == pytest.approx(found.latency_ms, abs=1e-3)
    assert found.latency_ms <= budget + 1e-3
    # A side of 32 n + 4 pixels makes every map a row larger: latency jumps by up to 40 % there.
    larger = folded_graph(found.variant, found.variant.resolution + 4)
    assert MODEL.runtimes[0].predict(larger) > budget
    names = {"get_variant": get_variant, "replace": replace}
    from edge_effnet.scaling import compound, scale

    made = eval(found.recipe, {**names, "compound": compound, "scale": scale})  # noqa: S307
    assert made.scaled_stages() == found.variant.scaled_stages()
    assert made.resolution == found.variant.resolution


def test_fit_command(path: Path) -> None:
    text = done(call("scale", "--latency-model", path, "--budget-ms", 8))
    assert "predicted (tflite int8" in text
    assert "cross-validation error" in text
    content = json.loads(
        done(call("scale", "--latency-model", path, "--budget-ms", 8, "--json", "-"))
    )
    assert 7 < content["latency_ms"] <= 8
    for wrong, message in (
        (("--budget-ms", 0), "leaves no time"),
        (("--budget-ms", "nan"), "leaves no time"),
        (("--budget-ms", 1e-4), "even efficientnet-b0"),
        (("--budget-ms", 1e9), "more than any network"),
        (("--budget-ms", 5, "--format", "onnx"), "holds no onnx int8"),
        (("--budget-ms", 5, "--base", "b99"), "unknown variant"),
    ):
        assert message in refused(call("scale", "--latency-model", path, *wrong))


@pytest.mark.slow
def test_a_fit_trains() -> None:
    pytest.importorskip("torch", reason="the extra 'torch'")
    import torch

    from edge_effnet import load
    from edge_effnet.converters.frameworks.torch import build

    found = scale_to_budget(MODEL, get_variant("b0"), 1.0)
    network = build(load(found.variant, "random"))
    side = found.variant.resolution
    network(torch.zeros(2, 3, side, side)).sum().backward()
    assert sum(p.numel() for p in network.parameters()) == found.params


def test_the_whole_family_is_predicted() -> None:
    records = finalists.predicted(MODEL, (1.0, 0.7))
    published = [v for v in VARIANTS.values() if v.published]
    assert len(records) == len(published) * 2 * 2
    assert {r.resolution for r in records if r.variant == "efficientnet-lite0"} == {224, 160}
    assert finalists.parse_sizes("1, 0.5") == (1.0, 0.5)
    for text in ("", "a", "0", "1,9", "nan"):
        with pytest.raises(UsageError, match="no shares"):
            finalists.parse_sizes(text)


def test_what_is_measured_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predicted to fit, measured not to: the best that was measured to fit is chosen."""
    asked: list[str] = []

    def timed(records, threads, runs, progress, monitor, classes):  # type: ignore[no-untyped-def]
        asked.extend(record.file for record in records)
        times = [r.latency_ms.median * (3 if len(asked) <= 3 else 1) for r in records]
        return [
            r.with_(latency_ms=Latency(t, t, t, t, t)) for r, t in zip(records, times, strict=True)
        ]

    monkeypatch.setattr(finalists, "_timed", timed)
    best = finalists.choose(MODEL, Limits(10), confirm=0)[0].choice
    found, measured = finalists.choose(MODEL, Limits(10), confirm=3)
    assert best is not None
    assert found.choice is not None
    assert best.record.file == asked[0]
    assert len(measured) == len(asked) == len(set(asked)) == 6
    assert found.choice.record.file in asked[3:]
    assert (found.choice.latency or 99) <= 10
    assert len(found.front) > 5
    monkeypatch.setattr(finalists, "_timed", lambda records, *rest: [
        r.with_(latency_ms=Latency(99, 99, 99, 99, 99)) for r in records
    ])  # fmt: skip
    found, measured = finalists.choose(MODEL, Limits(10), confirm=2)
    assert found.choice is None
    assert found.nearest is not None
    assert found.nearest.record in measured


def test_select_by_prediction(path: Path) -> None:
    there = call(
        "select", "--latency-model", path, "--budget-ms", 10, "--resolution-scales", "1,0.85"
    )
    assert "choice" in done(there)
    assert "another machine (one): nothing is measured" in there.stderr
    message = finding(call("select", "--latency-model", path, "--budget-ms", 0.001))
    assert "the nearest is" in message
    assert "--results JSON, or --latency-model" in refused(call("select", "--budget-ms", 1))
    both = ("--results", path, "--weights", path)
    assert "omit --results or --weights" in refused(call("select", *both, "--budget-ms", 1))
    assert "no latency model of a device" in refused(
        call("select", "--latency-model", RECORDED / "expected_accuracy.json",
             "--budget-ms", 1)
    )  # fmt: skip


@pytest.mark.slow
def test_finalists_are_measured_here() -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra 'export'")
    here = replace(MODEL, host=host.describe(), runtimes=MODEL.runtimes[:1])
    found, measured = finalists.choose(here, Limits(6.0), confirm=1, runs=5)
    assert 1 <= len(measured) <= 3
    for record in measured:
        assert record.latency_ms is not None
        assert len(record.samples_ms) == 5
        assert record.peak_rss_mb is not None
    if found.choice is not None:
        assert found.choice.record in measured


@settings(max_examples=10)
@given(st.lists(st.floats(0.5, 2), min_size=4, max_size=20))
def test_a_ratio_is_not_moved_by_a_machine_that_slows_down(speeds: list[float]) -> None:
    middle, (low, high) = ratio([3 * s for s in speeds], speeds, 4)
    assert middle == pytest.approx(3, abs=1e-3)
    assert (low, high) == (pytest.approx(3, abs=1e-3), pytest.approx(3, abs=1e-3))


@pytest.mark.slow
def test_a_paper_speedup_is_measured() -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra 'export'")
    small = PaperSpeedup("efficientnet-lite0", "efficientnet-b1", 2.0, "nowhere")
    ((found,), _) = measure([small], ["tflite"], runs=4)
    assert 0.5 < found.ratio < 20
    assert found.interval[0] <= found.ratio <= found.interval[1]
    assert "lite0 against b1, TFLite" in table([found])
    assert PAPER_SPEEDUPS[0].published == 5.7
