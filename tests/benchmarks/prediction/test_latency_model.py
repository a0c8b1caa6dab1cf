"""Latency models: the fit, the micro-benchmarks, the file, and one real measurement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.benchmarks.prediction import measurement
from edge_effnet.benchmarks.prediction.features import layer_features
from edge_effnet.benchmarks.prediction.fitting import (
    fit_coefficients,
    non_negative_least_squares,
)
from edge_effnet.benchmarks.prediction.latency_model import (
    folded_graph,
    load_latency_model,
)
from edge_effnet.calibration.passes.fold import fold_batch_norm, fold_structure
from edge_effnet.errors import UsageError
from edge_effnet.graph import Conv, multiply_adds
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS
from support.command import call, done, refused
from support.latency_models import latency_model, runtime


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(0, 0.05))
def test_the_fit_finds_the_coefficients(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 2, 6) * (rng.random(6) > 0.3) + 0.01
    rows = [{f"k{i}": float(v) for i, v in enumerate(rng.uniform(0, 3, 6))} for _ in range(60)]
    times = np.array([sum(row[f"k{i}"] * p for i, p in enumerate(truth)) for row in rows])
    times *= np.exp(rng.normal(0, noise, 60))
    times[::20] *= 2  # disturbed
    found = fit_coefficients(rows, times)
    for row, time in list(zip(rows, times, strict=True))[1:20]:
        said = sum(row[name] * ms for name, ms in found.coefficients.items())
        assert said == pytest.approx(time, rel=0.1 + 3 * noise)
    assert min(found.coefficients.values()) >= 0
    assert found.error[0] <= found.error[1]


@given(st.integers(0, 10**6))
def test_active_sets_reach_the_least(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(20, 8)), rng.normal(size=20)
    ours = non_negative_least_squares(matrix.T @ matrix, matrix.T @ target)
    assert np.allclose(ours, optimize.nnls(matrix, target)[0], atol=1e-6)


@pytest.mark.parametrize("name", ["lite0", "b1", "v2-b2", "edgetpu-s"])
def test_counts_are_those_of_the_graph(name: str) -> None:
    pytest.importorskip("onnx", reason="the extra 'export'")
    from edge_effnet.benchmarks.prediction.micro_benchmarks import random_model

    model = random_model(get_variant(name), 64)
    assert model.graph == fold_structure(model.graph) == folded_graph(get_variant(name), 64)
    found = layer_features(model.graph, "fp32")
    macs = sum(count for kind, count in found.items() if kind.endswith(".multiply_adds"))
    assert 1e6 * macs == pytest.approx(model.graph.multiply_adds)
    convolutions = [node for node in model.graph if isinstance(node, Conv) and node.depthwise]
    depthwise = {k: v for k, v in found.items() if k.startswith("depthwise")}
    assert 1e6 * sum(v for k, v in depthwise.items() if k.endswith("adds")) == pytest.approx(
        sum(multiply_adds(node, model.graph.shapes) for node in convolutions)
    )
    assert found["pointwise.read"] == pytest.approx(
        4 * layer_features(model.graph, "int8")["pointwise.read"]
    )
    assert fold_batch_norm(model).graph == model.graph


def test_micro_benchmarks_are_always_the_same() -> None:
    pytest.importorskip("onnx", reason="the extra 'export'")
    from edge_effnet.benchmarks.prediction import micro_benchmarks

    first, again = micro_benchmarks.choose(12), micro_benchmarks.choose(12)
    assert [p.name for p in first] == [p.name for p in again]
    assert len({p.name for p in first}) == 12
    for benchmark in first:
        assert 2e6 <= benchmark.model.graph.multiply_adds <= 2.5e8
        plan = micro_benchmarks.nominal_plan(benchmark.model)
        assert {n.name for n in benchmark.model.graph if isinstance(n, Conv)} <= set(plan.layers)


def test_a_layer_without_a_micro_benchmark_costs_its_multiply_adds() -> None:
    made = runtime(pointwise__multiply_adds=0.01)
    graph = folded_graph(get_variant("b0"))
    assert made.predict(graph) == pytest.approx(0.01 * graph.multiply_adds / 1e6)


@given(st.sampled_from(sorted(VARIANTS)), st.integers(32, 300))
@settings(max_examples=10)
def test_larger_inputs_take_no_less(name: str, side: int) -> None:
    made = runtime(pointwise__multiply_adds=0.01, swish__moved=0.1, depthwise3s1__call=0.01)
    smaller, larger = (made.predict(folded_graph(get_variant(name), s)) for s in (side, side + 40))
    assert 0 < smaller <= larger


def test_the_file_comes_back(tmp_path: Path) -> None:
    made = latency_model(runtime(swish__moved=0.5), runtime("fp32", swish__call=0.25))
    assert load_latency_model(made.save(tmp_path / "p.json")) == made
    with pytest.raises(UsageError, match=r"no onnx int8 .only tflite int8, tflite fp32"):
        made.of("onnx", "int8")


def test_files_of_schema_2_open(tmp_path: Path) -> None:
    """As written before: the coefficients are called prices, the micro-benchmarks probes."""
    price = {
        **{"format": "tflite", "precision": "int8", "runtime": "litert", "runtime_version": "2"},
        **{"kernels": "", "ms": {"pointwise.multiply_adds": 0.01}, "scale": 1.0, "probes": 9},
        "error": [0.01, 0.02],
    }
    old = {"schema": 2, "kind": "edge-effnet profile", "host": {"cpu": "one"}, "threads": 1}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({**old, "prices": [price], "created": "", "toolkit": "edge-effnet"}))
    assert load_latency_model(path).runtimes == latency_model().runtimes
    assert "3.8" in done(call("predict", "lite0", "--latency-model", path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the latency model"),
        ("[]", "no latency model of a device"),
        ('{"schema": 2, "records": []}', "no latency model of a device"),
        ('{"kind": "edge-effnet profile", "schema": 7}', "has schema 7"),
        ('{"kind": "edge-effnet profile", "schema": 2, "host": {}}', "threads is missing"),
        (
            '{"kind": "edge-effnet profile", "schema": 2, "host": {}, "threads": 1, "prices": []}',
            "no coefficients",
        ),
    ],
)
def test_what_is_no_profile(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    assert message in refused(call("predict", "--latency-model", path))


def test_predict(tmp_path: Path) -> None:
    path = latency_model().save(tmp_path / "p.json")
    rows = json.loads(
        done(call("predict", "lite0", "lite0@112", "--latency-model", path, "--json", "-"))
    )
    assert [row["name"] for row in rows] == ["efficientnet-lite0", "efficientnet-lite0@112"]
    large, small = (row["latency_ms"]["tflite int8"] for row in rows)
    assert 3.5 < large / small < 4.5
    assert "efficientnetv2-xl" in done(call("predict", "--latency-model", path))


def test_profile_arguments() -> None:
    assert "cannot be profiled" in refused(call("profile", "--precisions", "w8"))
    assert "unknown format" in refused(call("profile", "--formats", "mlmodel"))
    for name in ("lite9", "lite0@x"):
        assert "lite" in refused(call("profile", "--formats", "tflite", "--check", name))


@pytest.mark.slow
def test_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On any machine, however busy, the prediction has the right order of magnitude."""
    for module in ("ai_edge_litert", "onnx"):
        pytest.importorskip(module, reason="the extra 'export'")
    monkeypatch.setattr(measurement, "_SECONDS", 1.0)
    made, errors = measurement.measure_latency_model(
        ["tflite"], ["int8"], check=["lite0@128"], count=32
    )
    ((said, found),) = errors.values()
    assert 0.05 < said / found < 20
    assert 0 < made.latency(get_variant("lite0"), 64, "tflite", "int8") < said
    assert made.runtimes[0].runtime == "ai-edge-litert"
