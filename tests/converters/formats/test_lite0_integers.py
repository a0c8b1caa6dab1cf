"""Lite0's int8 files: the same integers in all formats, read back out of the files."""

from __future__ import annotations

import numpy as np
import pytest

from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.graph import Conv, Dense
from support.file_integers import Integers, read_onnx, read_openvino, read_tflite
from support.labelled_photos import Files

pytestmark = pytest.mark.slow

FORMATS = ("tflite", "onnx", "openvino")


@pytest.fixture(scope="module")
def integers(lite0_files: Files) -> dict[str, Integers]:
    read = {"tflite": read_tflite, "onnx": read_onnx, "openvino": read_openvino}
    return {name: reader(lite0_files[name, "int8"]) for name, reader in read.items()}


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_layer_is_int8(integers: dict[str, Integers], format_name: str) -> None:
    graph = fold_batch_norm(load("lite0")).graph
    shapes = graph.parameter_shapes
    layers = [node.name for node in graph if isinstance(node, (Conv, Dense))]
    found = integers[format_name].layers
    assert sorted(found) == sorted(layers)
    for name, layer in found.items():
        assert (layer.weight.shape, layer.bias.shape) == (
            shapes[f"{name}.weight"],
            shapes[f"{name}.bias"],
        )
        assert np.abs(layer.weight.astype(int)).max() <= 127


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_layers_are_the_same_integers(integers: dict[str, Integers], format_name: str) -> None:
    for name, layer in integers["tflite"].layers.items():
        other = integers[format_name].layers[name]
        assert (layer.weight.dtype, other.weight.dtype) == (np.int8, np.int8)
        assert np.array_equal(layer.weight, other.weight), name
        assert np.array_equal(layer.scale, other.scale), name
        assert np.array_equal(layer.bias, other.bias), name
        assert layer.input == other.input, name


@pytest.mark.parametrize("format_name", FORMATS)
def test_biases_have_the_scale_of_their_products(
    integers: dict[str, Integers], format_name: str
) -> None:
    for layer in integers[format_name].layers.values():
        assert np.array_equal(layer.bias_scale, np.float32(layer.input[0]) * layer.scale)


def test_activations_have_the_same_grids(integers: dict[str, Integers]) -> None:
    tflite_, onnx_, openvino_ = (integers[name].quant_params for name in FORMATS)
    twice = {"image.int8": "image", "logits": "classifier"}  # uint8 ends around the int8 network
    for name, copy in twice.items():
        assert tflite_[name] == tflite_[copy]
    before_flatten = onnx_.pop("head.pool/mean")
    assert before_flatten == onnx_["head.pool"]
    assert set(tflite_) - set(twice) - {"classifier"} == set(onnx_)  # its logits stay float
    for name, params in onnx_.items():
        assert tflite_[name] == params, name
    openvino_.pop("head.pool/mean", None)
    assert set(openvino_) == set(onnx_)
    for name, (scale, zero_point) in openvino_.items():  # its ranges are rounded to float32
        assert (scale, zero_point) == (pytest.approx(onnx_[name][0], rel=1e-5), onnx_[name][1])


def test_the_image_is_normalised_by_its_grid(integers: dict[str, Integers]) -> None:
    for found in integers.values():
        assert found.quant_params["image"] == (1 / 128, 127)
