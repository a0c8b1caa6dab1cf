"""int8 hard swishes in every runtime: the calibration's table is what the operators compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.calibration.weights.activation_tables import activation_table
from edge_effnet.graph import Activation, Graph
from edge_effnet.model import Model
from support import tflite_models as small
from support.small_plans import IMAGENET, decibels, pair_violations, samples_of

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.converters.artifact import Artifact
from edge_effnet.converters.formats.onnx import build
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.runtime.opening import open_model

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
KERNELS = {
    "xnnpack": OpResolverType.AUTO,
    "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def alone(low: float, high: float, top: float) -> tuple[Model, QuantPlan]:
    """A graph of one hard swish over 16 x 16 values, and its quantization parameters."""
    node = Activation(name="act", inputs=("image",), kind="hard_swish")
    graph = Graph("image", (1, 16, 16), (node,))
    model = small.model_of(small.HARD_SWISH)
    params = {"image": QuantParams.of_range(low, high), "act": QuantParams.of_range(-0.375, top)}
    return replace(model, graph=graph, weights={}), QuantPlan({}, params, "default")


@pytest.mark.parametrize("seed", range(8))
def test_the_operators_compute_the_table(seed: int) -> None:
    """All 256 inputs. One step apart at most, where a product falls near the middle of two."""
    rng = np.random.default_rng(seed)
    low, high = -rng.uniform(0.5, 25), rng.uniform(0.5, 25)
    model, plan = alone(low, high, max(0.3, high * rng.uniform(0.4, 1)))
    table = activation_table("hard_swish", plan.quant_params["image"], plan.quant_params["act"])
    expected = np.frombuffer(table, np.uint8).astype(int)
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    content = small.int8_file(model, plan)
    results = {}
    for name, kind in KERNELS.items():
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind)
        interpreter.allocate_tensors()
        operators = {each["op_name"] for each in interpreter._get_ops_details()}
        assert "HARD_SWISH" not in operators
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], every.transpose(0, 2, 3, 1)
        )
        interpreter.invoke()
        output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        results[name] = output.reshape(-1).astype(int)
    proto = build(model.graph, {}, plan, placement="tflite", integer_output=True)
    results["onnx"] = OnnxEngine(1).compile_integer(model.graph, plan)(every).reshape(-1)
    assert not {node.op_type for node in proto.graph.node} & {"HardSigmoid", "HardSwish"}
    for name, values in results.items():
        distance = np.abs(values.astype(int) - expected)
        assert distance.max() <= 1, name
        assert (distance > 0).mean() < 0.04, name
    exact = low + (high - low) * np.arange(256) / 255
    exact = exact * np.clip(exact + 3, 0, 6) / 6
    step = plan.quant_params["act"].scale
    ours = plan.quant_params["act"].dequantize(np.frombuffer(table, np.uint8))
    clipped = np.clip(exact, plan.quant_params["act"].low, plan.quant_params["act"].high)
    # The gate's rounding, half of 1/255, is multiplied by x; the ends of the range were rounded.
    assert (np.abs(ours - clipped) <= 1.1 * step + np.abs(exact) / 500 + (high - low) / 400).all()


@pytest.fixture(scope="module")
def model() -> Model:
    made = small.model_of(small.HARD_SWISH)
    return replace(made, info=replace(made.info, preprocess=IMAGENET))


@pytest.fixture(scope="module")
def plan(model: Model) -> QuantPlan:
    return calibrate(model, samples_of(), OnnxEngine(1)).plan


def logits(model: Model, plan: QuantPlan, name: str, folder: Path) -> np.ndarray:
    """Logits of the samples [samples, classes], computed by the format's own runtime."""
    quantized = OurQuantized({"int8": QuantizedModel(prepare(model).model, plan, model.info)})
    card = small.card_of(model, precision="int8", input="pixels")
    file = f"tiny-int8{SUFFIXES[name]}"
    path = Artifact(file, *quantized.write(name, "uint8", card), card).save(folder)
    opened = open_model(path, threads=1)
    return np.stack([opened.logits_of_pixels(pixels) for pixels in samples_of().pixels])


def test_networks_with_hard_swish_are_quantized_whole(model: Model, plan: QuantPlan) -> None:
    assert set(plan.quant_params) == set(model.graph.shapes)
    assert pair_violations(model, plan) == []
    assert decibels(prepare(model).model, plan) > 18


def test_all_runtimes_give_the_float_networks_logits(
    model: Model, plan: QuantPlan, tmp_path: Path
) -> None:
    prepared = prepare(model).model
    expected = np.stack(
        [
            small.evaluate(prepared, small.normalised(prepared, pixels))[prepared.graph.output]
            for pixels in samples_of().pixels
        ]
    )
    of = {name: logits(model, plan, name, tmp_path) for name in SUFFIXES}
    for name, values in of.items():
        noise = np.square(values - expected).sum() / np.square(expected).sum()
        assert -10 * np.log10(noise) > 17, name
    step = plan.quant_params[model.graph.output].scale
    assert np.abs(of["tflite"] - of["onnx"]).max() <= 3 * step
    assert np.abs(of["tflite"] - of["onnx"]).mean() <= step


def test_a_head_with_layer_normalisation_stays_in_float(tmp_path: Path) -> None:
    """A hard swish after a layer normalisation has no quantization parameters to read."""
    from edge_effnet.converters.formats.tflite.activations import in_float
    from edge_effnet.graph import LayerNorm

    norm = LayerNorm(name="norm", inputs=("image",), eps=1e-6)
    after = Activation(name="act", inputs=("norm",), kind="hard_swish")
    graph = Graph("image", (8,), (norm, after))
    assert in_float(graph, norm)
    assert in_float(graph, after)
    assert not in_float(Graph("image", (8,), (replace(after, inputs=("image",)),)), after)
