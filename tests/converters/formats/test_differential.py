"""Random small networks in three formats against a reference in numpy that shares no code."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from numpy.typing import NDArray

for module in ("ai_edge_litert", "flatbuffers", "onnxruntime", "openvino"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

import edge_effnet  # noqa: E402
from edge_effnet.calibration.passes.fold import fold_batch_norm  # noqa: E402
from edge_effnet.calibration.passes.prepare import prepare  # noqa: E402
from edge_effnet.calibration.plan import QuantPlan  # noqa: E402
from edge_effnet.calibration.quantizer_placement import quantized_tensors  # noqa: E402
from edge_effnet.graph import Add, Conv, Mul  # noqa: E402
from edge_effnet.model import Model  # noqa: E402
from support import numpy_network, random_networks  # noqa: E402
from support.random_networks import RandomNetwork  # noqa: E402

FORMATS = ("tflite", "onnx", "openvino")
few = settings(max_examples=12, suppress_health_check=list(HealthCheck))


def logits_of_files(
    model: Model, precision: str, plan: QuantPlan | None, pixels: NDArray[np.uint8]
) -> Mapping[str, NDArray[np.float32]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = edge_effnet.export(
            model,
            formats=FORMATS,
            precisions=precision,
            calibration=plan,
            out=Path(folder),
            io="float32" if precision == "int8" else "uint8",
            notify=lambda text: None,
        )
        return {
            name: edge_effnet.open(path).logits([pixels])[0]
            for name, path in zip(FORMATS, paths, strict=True)
        }


@few
@given(random_networks.networks())
def test_float_files(network: RandomNetwork) -> None:
    model, pixels = network.model(), network.pixels()
    image = random_networks.normalised(model, pixels)
    expected = numpy_network.run(model.graph, model.weights, image)[model.graph.output]
    for name, logits in logits_of_files(model, "fp32", None, pixels).items():
        np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=2e-4, err_msg=name)


@few
@given(random_networks.networks())
def test_half_files(network: RandomNetwork) -> None:
    model, pixels = fold_batch_norm(network.model()), network.pixels()
    halves = {name: values.astype(np.float16) for name, values in model.weights.items()}
    image = random_networks.normalised(model, pixels)
    expected = numpy_network.run(model.graph, halves, image)[model.graph.output]
    for name, logits in logits_of_files(model, "fp16", None, pixels).items():
        np.testing.assert_allclose(logits, expected, rtol=1e-2, atol=1e-2, err_msg=name)


@few
@given(random_networks.networks())
def test_integer_files(network: RandomNetwork) -> None:
    """Convolutions and clipping activations are exact; kernels approximate the sigmoid."""
    if network.head:  # the spread of two values may be a few rounding steps
        hidden = zip(network.head.widths, network.head.between, strict=True)
        assume(all(width >= 6 or "layer" not in layers for width, layers in hidden))
    pixels = network.pixels()
    prepared = prepare(network.model()).model
    plan = random_networks.naive_plan(prepared, pixels)
    step = plan.quant_params[prepared.graph.output].scale
    smooth = network.variant.activation == "swish" or has_gates(prepared) or network.head
    # A layer normalisation in the head divides by the spread of few values.
    allowed = 16.5 if network.head else 9.5 if smooth else 3.5
    for name, logits in logits_of_files(network.model(), "int8", plan, pixels).items():
        expected = simulated(prepared, plan, name, pixels)
        assert np.abs(logits - expected).max() <= allowed * step + tie(prepared, plan), name


def tie(model: Model, plan: QuantPlan) -> float:
    """Change of a logit if the values of a constant map in the last block round the other way."""
    classifier = plan.layers.get(model.graph.output)
    blocks = [name.rpartition(".")[0] for name in plan.quant_params if name.startswith("stages.")]
    if classifier is None or not blocks:
        return 0.0
    steps = [
        params.scale for name, params in plan.quant_params.items() if name.startswith(max(blocks))
    ]
    return max(steps) * float(np.abs(classifier.float_weight()).max())


def has_gates(model: Model) -> bool:
    return any(isinstance(node, Mul) for node in model.graph)


def simulated(
    model: Model, plan: QuantPlan, format_name: str, pixels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Logits in float64 with the plan's weights, each stored tensor rounded to its steps."""
    weights: dict[str, NDArray[np.generic]] = dict(model.weights)
    for name, layer in plan.layers.items():
        scale = plan.quant_params[model.graph.by_name[name].inputs[0]].scale
        columns = (-1,) + (1,) * (layer.weight.ndim - 1)
        weights[f"{name}.weight"] = layer.weight * layer.scale.reshape(columns).astype(np.float64)
        weights[f"{name}.bias"] = layer.bias * layer.scale.astype(np.float64) * scale
    stored = quantized_tensors(model.graph, plan, format_name)
    if format_name == "openvino":  # its convolutions add the shortcut before they round
        stored -= {
            node.inputs[0]
            for node in model.graph
            if isinstance(node, Add) and isinstance(model.graph.by_name[node.inputs[0]], Conv)
        }

    def rounded(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if name not in stored:
            return values
        params = plan.quant_params[name]
        indices = np.clip(np.rint(values / params.scale) + params.zero_point, 0, 255)
        return (indices - params.zero_point) * params.scale

    image = random_networks.normalised(model, pixels)
    return numpy_network.run(model.graph, weights, image, rounded)[model.graph.output]
