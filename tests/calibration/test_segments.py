"""Segments: parts of a network that compute the network's own tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.calibration import segments
from edge_effnet.calibration.segments import compile_segments, cut
from support import tflite_models as small
from support.random_networks import RandomNetwork, networks

pytest.importorskip("onnxruntime")
from edge_effnet.converters.onnx_engine import OnnxEngine


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
    found = {}
    for segment in parts:
        lasts = []
        for part in segment.parts(len(batch)):
            tensors = segment.run(batch[part])
            lasts.append(tensors[segment.graph.output])
            for name, values in tensors.items():
                found.setdefault(name, []).append(values)
        batch = np.concatenate(lasts)
    assert list(found) == names
    for name, values in found.items():
        assert np.allclose(np.concatenate(values), expected[name], rtol=1e-5, atol=1e-6), name
