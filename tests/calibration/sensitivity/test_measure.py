"""Sensitivities, against networks in which the whole graph is rounded at one unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.fidelity import sqnr_db
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.sensitivity import measure
from edge_effnet.calibration.sensitivity.measure import sensitivities
from edge_effnet.calibration.sensitivity.units import units
from edge_effnet.graph import Graph
from edge_effnet.model import Model, Weights
from support import tflite_models as small

pytest.importorskip("onnxruntime", reason="networks are run by the extra 'export'")
pytest.importorskip("onnx", reason="networks are run by the extra 'export'")

from edge_effnet.converters.onnx_engine import OnnxEngine

ENGINE = OnnxEngine(1)
PICTURES = small.photos(6)
MODELS = {
    "lite": small.model_of(small.LITE),
    "swish": small.model_of(small.SWISH),
    "baseline": small.baseline(),
}


def prepared(name: str) -> tuple[Model, QuantPlan]:
    if name == "fused gates":
        model, plan = prepared("swish")
        return model, replace(plan, fused_gates=fusable_gates(model.graph))
    model = share_input_normalization(MODELS[name])
    return model, small.min_max_plan(MODELS[name], PICTURES)


def run(
    model: Model,
    weights: Weights,
    quant_params: dict[str, QuantParams],
    tensor: str,
    fused_gates: frozenset[str] = frozenset(),
) -> np.ndarray:
    values = model.info.preprocess.normalise(np.stack(PICTURES)).transpose(0, 3, 1, 2)
    rounding = QuantPlan({}, quant_params, "", fused_gates=fused_gates)
    return ENGINE.compile_fake_quantized(model.graph, weights, rounding, [tensor])(
        np.ascontiguousarray(values)
    )[tensor]


def rounded_logits(model: Model, plan: QuantPlan, name: str, tensors: Sequence[str]) -> np.ndarray:
    """Of the whole network, rounded at the unit ``name`` alone, the means of its layer kept."""
    weights = dict(model.weights)
    if name in plan.layers:
        weights[f"{name}.weight"] = plan.layers[name].float_weight()
        lost = run(model, model.weights, {}, name) - run(model, weights, {}, name)
        if f"{name}.bias" in weights:
            mean = lost.reshape(*lost.shape[:2], -1).mean(axis=(0, 2))
            weights[f"{name}.bias"] = weights[f"{name}.bias"] + mean
    quant_params = {
        tensor: plan.quant_params[tensor] for tensor in tensors if tensor in plan.quant_params
    }
    return run(model, weights, quant_params, model.graph.output, plan.fused_gates)


@pytest.mark.parametrize("name", MODELS)
def test_units_hold_every_node_once(name: str) -> None:
    graph = MODELS[name].graph
    held = [node.name for unit in units(graph) for node in unit.nodes]
    assert sorted(held) == sorted(node.name for node in graph)
    first = units(graph)[0]
    assert (first.kind, len(first.nodes)) == ("conv", 2)


@pytest.mark.parametrize("name", [*MODELS, "fused gates"])
def test_a_cost_is_that_of_the_whole_network_rounded_at_one_unit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the means, which are left as they are here."""
    monkeypatch.setattr(measure, "bias_corrected", lambda values, exact: values)
    model, plan = prepared(name)
    reference = run(model, model.weights, {}, model.graph.output)
    found = sensitivities(model, plan, ENGINE, np.stack(PICTURES))
    assert [one.name for one in found] == [unit.name for unit in units(model.graph)]
    signal = np.square(reference).sum()
    for one in found:
        rounded = rounded_logits(model, plan, one.name, one.tensors)
        assert one.noise == pytest.approx(
            np.square(rounded - reference).sum() / signal, rel=0.02, abs=1e-9
        )
    assert max(one.noise for one in found) > 1e-6
    assert sum(one.multiply_adds for one in found) == model.graph.multiply_adds


@pytest.mark.parametrize("name", MODELS)
def test_what_moves_all_samples_alike_costs_nothing(name: str) -> None:
    model, plan = prepared(name)
    reference = run(model, model.weights, {}, model.graph.output)
    last = sensitivities(model, plan, ENGINE, np.stack(PICTURES))[-1]
    error = rounded_logits(model, plan, last.name, last.tensors) - reference
    spread = np.square(error - error.mean(axis=0)).sum() / np.square(reference).sum()
    assert last.noise == pytest.approx(spread, rel=0.02)
    assert last.noise < np.square(error).sum() / np.square(reference).sum()


def test_noise_of_units_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly to that of the whole plan; neither has bias correction here."""
    monkeypatch.setattr(measure, "bias_corrected", lambda values, exact: values)
    model, plan = prepared("lite")
    found = sensitivities(model, plan, ENGINE, np.stack(PICTURES))
    assert sqnr_db(sum(one.noise for one in found)) == pytest.approx(found[-1].output_db, abs=5)


def test_what_is_not_stored_costs_nothing() -> None:
    model, plan = prepared("swish")
    pixels = np.stack(PICTURES)
    every = sensitivities(model, plan, ENGINE, pixels)
    none = sensitivities(model, plan, ENGINE, pixels, stored=())
    for quantized, without in zip(every, none, strict=True):
        assert without.noise <= quantized.noise * 1.2
        if without.name not in plan.layers:
            assert without.noise < 1e-9 < quantized.noise


def test_weights_between_quantized_tensors_stay_float() -> None:
    """ONNX Runtime would give such weights 8 bits and one scale for the layer."""
    model, plan = prepared("lite")
    second = next(unit for unit in units(model.graph) if unit.kind == "depthwise")
    before = second.nodes[0].inputs[0]
    quant_params = {name: plan.quant_params[name] for name in (before, second.output)}
    got = run(model, model.weights, quant_params, second.output)
    source = run(model, model.weights, {before: quant_params[before]}, before)
    graph = Graph(before, model.graph.shapes[before], second.nodes)
    exact = ENGINE.compile_float(graph, model.weights, [second.output])(source)[second.output]
    assert np.abs(got - exact).max() <= 0.51 * quant_params[second.output].scale
