"""Plans of swish networks with squeeze-excite, in every format's own runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes.input_normalization import (
    input_quant_params,
    share_input_normalization,
)
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.graph import Mul
from edge_effnet.model import Model
from support import tflite_models as small
from support.small_plans import IMAGENET, decibels, layers_of, pair_violations, samples_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.converters.artifact import Artifact
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.runtime.opening import open_model

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}


@pytest.fixture(scope="module")
def swish() -> Model:
    made = small.model_of(small.SWISH)
    return replace(made, info=replace(made.info, preprocess=IMAGENET))


@pytest.fixture(scope="module")
def swish_plan(swish: Model) -> QuantPlan:
    return calibrate(swish, samples_of(), OnnxEngine(1)).plan


@pytest.fixture(scope="module")
def best_plan(swish: Model) -> QuantPlan:
    return calibrate(swish, samples_of(), OnnxEngine(1), recipe="best").plan


def our_files(model: Model, plan: QuantPlan) -> OurQuantized:
    return OurQuantized({"int8": QuantizedModel(prepare(model).model, plan, model.info)})


def logits(swish: Model, plan: QuantPlan, format: str, folder: Path) -> np.ndarray:
    """Logits of the samples [samples, classes], computed by the format's own runtime."""
    write = our_files(swish, plan).write
    card = small.card_of(swish, precision="int8", input="pixels")
    name = f"tiny-int8{SUFFIXES[format]}"
    path = Artifact(name, *write(format, "uint8", card), card).save(folder)
    opened = open_model(path, threads=1)
    return np.stack([opened.logits_of_pixels(pixels) for pixels in samples_of().pixels])


def float_logits(model: Model) -> np.ndarray:
    common = share_input_normalization(model)
    return np.stack(
        [
            small.evaluate(common, small.normalised(common, pixels))[common.graph.output]
            for pixels in samples_of().pixels
        ]
    )


def test_swish_networks_are_planned_whole(swish: Model, swish_plan: QuantPlan) -> None:
    plan = swish_plan
    assert list(plan.layers) == [node.name for node in layers_of(swish)]
    assert set(plan.quant_params) == set(swish.graph.shapes)
    assert pair_violations(swish, plan) == []
    common = share_input_normalization(swish)
    simple = small.min_max_plan(common, list(samples_of().pixels))
    simple = replace(
        simple, quant_params={**simple.quant_params, "image": input_quant_params(IMAGENET)}
    )
    ours = decibels(common, plan)
    assert ours > 18
    assert ours > decibels(common, simple)


@pytest.mark.parametrize("recipe", ["default", "best"])
def test_onnx_and_tflite_compute_a_swish_alike(
    swish: Model, swish_plan: QuantPlan, best_plan: QuantPlan, recipe: str, tmp_path: Path
) -> None:
    """Same integers, same tables: what is left is where a product's rounding ties."""
    pytest.importorskip("ai_edge_litert")
    plan = {"default": swish_plan, "best": best_plan}[recipe]
    lite, onnx = (logits(swish, plan, name, tmp_path) for name in ("tflite", "onnx"))
    step = plan.quant_params[swish.graph.output].scale
    assert np.abs(lite - onnx).max() <= 3 * step
    assert np.abs(lite - onnx).mean() <= step


def test_best_multiplies_the_gates_first(
    swish: Model, swish_plan: QuantPlan, best_plan: QuantPlan, tmp_path: Path
) -> None:
    """In TFLite and ONNX, once more per gate; OpenVINO keeps the swish it computes in float."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("openvino")
    scales = {node.name for node in swish.graph if isinstance(node, Mul)}
    assert not swish_plan.fused_gates
    assert best_plan.fused_gates == fusable_gates(swish.graph) == scales
    assert not best_plan.for_format("openvino").fused_gates
    plain = replace(best_plan, fused_gates=frozenset())
    expected = float_logits(swish)

    def error(plan: QuantPlan, format: str) -> float:
        return float(np.square(logits(swish, plan, format, tmp_path) - expected).mean())

    for name in ("tflite", "onnx"):
        assert error(best_plan, name) != error(plain, name)
    assert error(best_plan, "openvino") == error(plain, "openvino")
    written = our_files(swish, best_plan).write
    card = small.card_of(swish, precision="int8", input="pixels")
    for name in ("tflite", "onnx"):
        data = written(name, "uint8", card)[0]
        for scale in scales:
            assert f"{scale}.gate".encode() in data or f"{scale}/gate".encode() in data


def test_openvino_has_biases_of_its_own_that_match_the_means(
    swish: Model, swish_plan: QuantPlan, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    expected = float_logits(swish)
    shared = replace(swish_plan, biases={})
    own, others = (
        np.abs((logits(swish, plan, "openvino", tmp_path) - expected).mean(axis=0)).mean()
        for plan in (swish_plan, shared)
    )
    assert own < others
