"""The PyTorch module of a quantized network computes what the plan says, as TFLite's kernels do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.plan import QuantPlan, WeightOnlyPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Model
from support import tflite_models as small

pytest.importorskip("torch", reason="the extra 'torch'")
pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")
import torch

from edge_effnet.converters.formats.executorch_quantized import QuantizedNetwork
from edge_effnet.runtime.litert import LiteRTRunner

VARIANTS = {"lite": small.LITE, "swish": small.SWISH, "hard-swish": small.HARD_SWISH}


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest) -> Model:
    return small.model_of(VARIANTS[request.param])


def logits(model: Model, plan: QuantPlan, pixels: np.ndarray) -> np.ndarray:
    network = QuantizedNetwork(QuantizedModel(model, plan, model.info)).eval()
    with torch.no_grad():
        tensor = torch.tensor(small.normalised(model, pixels)[None])
        return network(tensor).numpy()[0]


def test_logits_are_those_of_the_plan(model: Model) -> None:
    """Sums are float here, so that a tie may round otherwise and move some logits by steps."""
    plan = small.min_max_plan(model, small.photos(4))
    step = plan.quant_params[model.graph.output].scale
    for pixels in small.photos(4):
        expected = small.simulate(model, plan, pixels)
        assert np.abs(logits(model, plan, pixels) - expected).max() < 3.5 * step


def test_fused_gates_are_those_of_the_tflite_file() -> None:
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(4))
    plan = replace(plan, fused_gates=fusable_gates(model.graph))
    assert plan.fused_gates
    runner = LiteRTRunner(small.int8_file(model, plan), 1, "file")
    step = plan.quant_params[model.graph.output].scale
    for pixels in small.photos(4):
        expected = runner.run(pixels[None])[0]
        assert np.abs(logits(model, plan, pixels) - expected).max() < 2.5 * step


def test_float_layers_compute_with_the_float_weights(model: Model) -> None:
    """Every layer in float: the logits of the float network, from quantized pixels."""
    plan = small.min_max_plan(model, small.photos(4))
    plan = replace(plan, float_layers=frozenset(node.name for node in model.graph))
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        step = plan.quant_params[model.graph.output].scale
        assert np.abs(logits(model, plan, pixels) - expected).max() <= step


def test_integers_are_stored_unchanged(model: Model) -> None:
    plan = small.min_max_plan(model, small.photos(2))
    network = QuantizedNetwork(QuantizedModel(model, plan, model.info))
    buffers = dict(network.named_buffers())
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            layer, key = plan.layers[node.name], node.name.replace(".", "_")
            np.testing.assert_array_equal(buffers[f"{key}_weight"].numpy(), layer.weight)
            np.testing.assert_array_equal(buffers[f"{key}_scale"].numpy(), layer.scale)
            scale = np.float32(plan.quant_params[node.inputs[0]].scale) * layer.scale
            bias = np.rint(buffers[f"{key}_bias"].numpy() / scale)
            np.testing.assert_array_equal(bias, layer.bias)


def test_a_weight_only_plan_is_refused(model: Model) -> None:
    with pytest.raises(TypeError, match="weight-only"):
        QuantizedNetwork(QuantizedModel(model, WeightOnlyPlan({}, "default"), model.info))
