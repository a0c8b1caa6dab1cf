"""Costs of single units, against networks in which the whole graph is rounded at that unit."""

from __future__ import annotations

import numpy as np
import pytest
import tflite_models as small
from numpy.typing import NDArray

from edge_effnet.calibration.pixels import with_common_input
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.sensitivity import sensitivities, units
from edge_effnet.model import Model

pytest.importorskip("onnxruntime", reason="networks are run by the extra 'export'")
pytest.importorskip("onnx", reason="networks are run by the extra 'export'")

from edge_effnet.converters.execute import OnnxEngine

ENGINE = OnnxEngine(1)
PICTURES = small.photos(6)
MODELS = {
    "lite": small.model_of(small.LITE),
    "swish": small.model_of(small.SWISH),
    "baseline": small.baseline(),
}


def prepared(name: str) -> tuple[Model, QuantPlan]:
    model = with_common_input(MODELS[name])
    return model, small.min_max_plan(MODELS[name], PICTURES)


def logits(model: Model, plan: QuantPlan | None, tensors: tuple[str, ...]) -> NDArray[np.float32]:
    """Of the whole network, rounded at ``tensors`` alone."""
    weights, grids = dict(model.weights), {}
    for name in tensors if plan else ():
        if name in plan.layers:
            weights[f"{name}.weight"] = plan.layers[name].float_weight()
        if name in plan.grids:
            grids[name] = plan.grids[name]
    output = model.graph.output
    values = model.card.preprocess.normalise(np.stack(PICTURES)).transpose(0, 3, 1, 2)
    return ENGINE.rounded(model.graph, weights, grids, [output])(np.ascontiguousarray(values))[
        output
    ]


@pytest.mark.parametrize("name", MODELS)
def test_units_hold_every_node_once(name: str) -> None:
    graph = MODELS[name].graph
    held = [node.name for unit in units(graph) for node in unit.nodes]
    assert sorted(held) == sorted(node.name for node in graph)
    first = units(graph)[0]
    assert (first.kind, len(first.nodes)) == ("conv", 2)


@pytest.mark.parametrize("name", MODELS)
def test_a_cost_is_that_of_the_whole_network_rounded_at_one_unit(name: str) -> None:
    model, plan = prepared(name)
    reference = logits(model, None, ())
    found = sensitivities(model, plan, ENGINE, np.stack(PICTURES))
    assert [one.name for one in found] == [unit.name for unit in units(model.graph)]
    signal = np.square(reference).sum()
    for one in found:
        rounded = logits(model, plan, one.tensors)
        assert one.noise == pytest.approx(
            np.square(rounded - reference).sum() / signal, rel=0.02, abs=1e-9
        )
    assert max(one.noise for one in found) > 1e-6
    assert sum(one.multiply_adds for one in found) == model.graph.multiply_adds
