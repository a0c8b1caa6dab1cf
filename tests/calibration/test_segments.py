"""Segments: parts of a network that compute the network's own tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet import load
from edge_effnet.calibration import segments
from edge_effnet.calibration.activations.statistics import collect_statistics
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.engine import Engine, Floats
from edge_effnet.calibration.passes.channel_groups import divide_channels
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.recipes import get
from edge_effnet.calibration.samples.domain_shift import variance_ratio
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.segments import compile_segments, cut, run_segments
from edge_effnet.calibration.sensitivity.measure import sensitivities
from edge_effnet.calibration.weights.weight_only import quantize_weights
from edge_effnet.card import CalibrationRecord
from edge_effnet.model import Model
from support import tflite_models as small
from support.random_networks import RandomNetwork, networks

pytest.importorskip("onnxruntime")
from edge_effnet.converters.onnx_engine import OnnxEngine

Step = Callable[[Model, Samples, Engine], object]


@given(networks(), st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_parts_have_all_nodes_and_read_one_tensor(network: RandomNetwork, most: int) -> None:
    graph = network.model().graph
    parts = cut(graph, most)
    assert [node for part in parts for node in part] == list(graph)
    source = graph.input
    for part in parts:
        assert part.input == source
        inside = {part.input, *(node.name for node in part)}
        assert all(set(node.inputs) <= inside for node in part)
        assert part.shapes == {name: graph.shapes[name] for name in part.shapes}
        source = part.output


@pytest.mark.parametrize("most", [1, 100_000, 1 << 40])
def test_segments_compute_the_tensors_of_the_network(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small.model_of(small.SWISH)
    graph, engine = model.graph, OnnxEngine(1)
    names = [node.name for node in graph]
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(3, *graph.input_shape)).astype(np.float32)
    expected = engine.compile_float(graph, model.weights, names)(batch)
    monkeypatch.setattr(segments, "MOST_BYTES", most)
    monkeypatch.setattr(segments, "PART_BYTES", most)
    parts = compile_segments(graph, model.weights, engine, names, 3)
    assert (len(parts) == 1) == (most == 1 << 40)
    computed: dict[str, list[Floats]] = {}
    for first, tensors in run_segments(parts, batch, engine):
        for name, values in tensors.items():
            assert first == sum(map(len, computed.get(name, [])))
            computed.setdefault(name, []).append(values)
    assert list(computed) == names
    for name, values in computed.items():
        assert np.allclose(np.concatenate(values), expected[name], rtol=1e-5, atol=1e-6), name


class Weighed(OnnxEngine):
    """An engine that records the size in bytes of the largest result of a single run."""

    most = 0

    def compile_fake_quantized(self, *arguments: Any) -> Callable[[Floats], dict[str, Floats]]:
        run = super().compile_fake_quantized(*arguments)

        def weighed(batch: Floats) -> dict[str, Floats]:
            tensors = run(batch)
            self.most = max(self.most, sum(values.nbytes for values in tensors.values()))
            return tensors

        return weighed


def _domain_shift(model: Model, samples: Samples, engine: Engine) -> None:
    trained = replace(model, info=replace(model.info, source=None))
    assert variance_ratio(trained, samples.pixels, engine) is not None


def _statistics(model: Model, samples: Samples, engine: Engine) -> None:
    collect_statistics(prepare(model).reference, samples.pixels, engine)


def _noise_of_units(model: Model, samples: Samples, engine: Engine) -> None:
    plan = calibrate(model, samples, engine, recipe=replace(get("fast"), positions=64)).plan
    assert isinstance(plan, QuantPlan)
    sensitivities(prepare(model).model, plan, engine, samples.pixels)


def _divided(model: Model, samples: Samples, engine: Engine) -> None:
    divide_channels(prepare(model), samples.pixels, engine)


@pytest.mark.parametrize(
    "step",
    [
        _domain_shift,
        _statistics,
        quantize_weights,
        pytest.param(_noise_of_units, marks=pytest.mark.slow),
        _divided,
    ],
)
def test_no_step_holds_the_tensors_of_the_network_for_all_samples(step: Step) -> None:
    """One photo's tensors of B0 at 320 px take 100 MB, those of its largest block 30 MB."""
    model = load("b0", weights="random", resolution=320)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 320, 320, 3), np.uint8)
    record = CalibrationRecord(8, 8, "0" * 64)
    engine = Weighed(2)
    step(model, Samples(pixels, record, (), ()), engine)
    assert 0 < engine.most < 64e6
