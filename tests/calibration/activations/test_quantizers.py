"""Grids: which tensors are weighed by what reads them, and what that changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.activations.quantizers import channels_to_sample, choose_quant_params
from edge_effnet.calibration.activations.statistics import collect_statistics
from edge_effnet.calibration.plan import SIGMOID_PARAMS, QuantParams
from edge_effnet.graph import Activation, Conv, Mul
from edge_effnet.model import Model
from support import tflite_models as small

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")
from edge_effnet.converters.onnx_engine import OnnxEngine

PICTURES = np.stack(small.photos(6))


@pytest.fixture(scope="module")
def swish() -> Model:
    return small.model_of(small.SWISH)


def grids_of(model: Model) -> dict[str, QuantParams]:
    statistics = collect_statistics(
        model, PICTURES, OnnxEngine(1), channel_tensors=channels_to_sample(model.graph)
    )
    return choose_quant_params(model, statistics)


def test_what_convolutions_read_of_a_swish_or_a_gate_is_weighed(swish: Model) -> None:
    graph = swish.graph
    names = set(channels_to_sample(graph))
    scales = [node for node in graph if isinstance(node, Mul)]
    assert scales
    for scale in scales:
        assert {scale.name, scale.inputs[1]} <= names  # what a gate scales, and how much it does
        assert graph.by_name[scale.inputs[0]].inputs[0] in names
    for node in graph:
        if isinstance(node, Activation) and node.kind == "swish":
            read = any(isinstance(reader, Conv) for reader in graph.consumers[node.name])
            assert not read or node.inputs[0] in names or graph.shapes[node.name][1:] == (1, 1)
        if isinstance(node, Activation) and node.kind == "sigmoid":
            assert node.inputs[0] not in names


def test_networks_that_clip_weigh_nothing() -> None:
    assert channels_to_sample(small.model_of(small.LITE).graph) == ()


def test_a_channel_that_nothing_hears_leaves_the_range_to_others(swish: Model) -> None:
    """Made large, and then not read: only then do the grids before and after the swish shrink."""
    depthwise = next(n for n in swish.graph if isinstance(n, Conv) and n.depthwise)
    act = depthwise.inputs[0]
    before = swish.graph.by_name[act].inputs[0]
    bias = swish.weights[f"{before}.bias"].copy()
    weight = swish.weights[f"{before}.weight"].copy()
    weight[0] *= 30
    bias[0] += 40
    loud = replace(
        swish,
        weights={**swish.weights, f"{before}.weight": weight, f"{before}.bias": bias},
    )
    taps = swish.weights[f"{depthwise.name}.weight"].copy()
    taps[0] = 0
    unheard = replace(loud, weights={**loud.weights, f"{depthwise.name}.weight": taps})
    wide, narrow = grids_of(loud), grids_of(unheard)
    for name in (before, act):
        assert narrow[name].high < 0.5 * wide[name].high


def test_grids_are_the_same_on_any_number_of_threads(
    swish: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = grids_of(swish)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert grids_of(swish) == first
    assert list(first) == list(grids_of(swish))
    gates = [n.name for n in swish.graph if isinstance(n, Activation) and n.kind == "sigmoid"]
    assert {first[name] for name in gates} == {SIGMOID_PARAMS}
