"""The .tflite writer: what its files compute, and what it refuses to write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet import network
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Model
from edge_effnet.runtime.litert import LiteRTRunner
from support import tflite_models as small
from support.tflite_models import int8_file

pytest.importorskip("tflite", reason="the extra 'export'")
pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")
from support.tflite_contents import TYPES, contents


def float_logits(model: Model, data: bytes, pixels: np.ndarray) -> np.ndarray:
    return LiteRTRunner(data, 1, "file").run(model.info.preprocess.normalise(pixels)[None])[0]


def decibels(signal: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((signal**2).sum() / max(((signal - other) ** 2).sum(), 1e-20)))


# What the files compute


def test_float_file_computes_the_graph(model: Model, files: dict[str, bytes]) -> None:
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        got = float_logits(model, files["fp32"], pixels)
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_half_file_is_near_and_small(model: Model, files: dict[str, bytes]) -> None:
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        assert decibels(expected, float_logits(model, files["fp16"], pixels)) > 50
    _, tensors, _ = contents(files["fp16"])
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            assert TYPES[tensors[f"{node.name}.weight.float16"]["type"]] == "float16"
            assert TYPES[tensors[f"{node.name}.bias"]["type"]] == "float32"


def test_int8_file_computes_what_the_plan_says(
    model: Model, plan: QuantPlan, files: dict[str, bytes]
) -> None:
    """Kernels may round a tie otherwise, which moves some logits by a step."""
    runner = LiteRTRunner(files["int8"], 1, "file")
    step = plan.quant_params[model.graph.output].scale
    for pixels in small.photos(6):
        expected = small.simulate(model, plan, pixels)
        assert np.abs(runner.run(pixels[None])[0] - expected).max() < 2.5 * step


def test_int8_takes_pixels_and_gives_bytes(
    model: Model, plan: QuantPlan, files: dict[str, bytes]
) -> None:
    """Lite's normalisation as a grid, (1 / 128, 127), moves to int8 exactly: (1 / 128, -1)."""
    _, tensors, operators = contents(files["int8"])
    output = plan.quant_params[model.graph.output]
    expected = {
        "image": ("uint8", 1 / 128, 127),
        "image.int8": ("int8", 1 / 128, -1),
        model.graph.output: ("int8", output.scale, output.zero_point - 128),
        "logits": ("uint8", output.scale, output.zero_point),
    }
    for name, (dtype, scale, zero_point) in expected.items():
        assert TYPES[tensors[name]["type"]] == dtype
        assert tensors[name]["quantization"]["scale"].tolist() == [scale]
        assert tensors[name]["quantization"]["zero_point"].tolist() == [zero_point]
    assert [operators[0][0], operators[-1][0]] == ["QUANTIZE", "QUANTIZE"]


@pytest.mark.parametrize("left_out", ["se", "stages.2.blocks.0.project", "stem.conv", "classifier"])
def test_layers_left_out_of_the_plan_stay_float(left_out: str) -> None:
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(6))
    layers = {name: layer for name, layer in plan.layers.items() if left_out not in name}
    mixed = replace(plan, layers=layers)
    data = int8_file(model, mixed)
    _, tensors, operators = contents(data)
    for name in plan.layers.keys() - layers.keys():
        assert TYPES[tensors[f"{name}.weight"]["type"]] == "float32"
    codes = [code for code, _, _ in operators]
    assert "DEQUANTIZE" in codes
    assert TYPES[tensors["logits"]["type"]] == "uint8"
    runner = LiteRTRunner(data, 1, "file")
    for pixels in small.photos(3):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        assert decibels(expected, runner.run(pixels[None])[0]) > 30


def test_dead_channels_are_harmless() -> None:
    """All-zero weights under a large bias, as 84 channels of the real Lite0 have them."""
    model = small.model_of(small.LITE)
    name = "stages.1.blocks.0.expand"
    weights = dict(model.weights)
    weights[f"{name}.weight"] = (
        weights[f"{name}.weight"] * (np.arange(48) % 4 != 0)[:, None, None, None]
    )
    model = replace(model, weights=weights)
    plan = small.min_max_plan(model, small.photos(3))
    runner = LiteRTRunner(int8_file(model, plan), 1, "file")
    for pixels in small.photos(3):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        assert decibels(expected, runner.run(pixels[None])[0]) > 25


# What the writer refuses


def test_a_tensor_without_a_grid_is_named() -> None:
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(1))
    quant_params = {
        name: params
        for name, params in plan.quant_params.items()
        if name != "stages.2.blocks.0.se.pool"
    }
    with pytest.raises(QuantizationError, match=r"stages\.2\.blocks\.0\.se\.pool"):
        int8_file(model, replace(plan, quant_params=quant_params))


def test_weights_beyond_float16_are_refused() -> None:
    model = small.model_of(small.LITE)
    weights = {**model.weights, "stem.conv.weight": model.weights["stem.conv.weight"] * 1e6}
    with pytest.raises(QuantizationError, match=r"stem\.conv"):
        write(replace(model, weights=weights), None, small.card_of(model, precision="fp16"))


def test_batch_norm_must_be_folded() -> None:
    model = small.model_of(small.LITE)
    unfolded = replace(model, graph=network.build(small.LITE, classes=small.CLASSES))
    with pytest.raises(TypeError, match="BatchNorm"):
        write(unfolded, None, small.card_of(model))
