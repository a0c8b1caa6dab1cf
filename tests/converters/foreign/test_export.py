"""Foreign .onnx classifiers: hostile and odd ones refused, others written and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.checkpoints import load
from edge_effnet.errors import (
    CheckpointError,
    EdgeEffNetError,
    MissingExtra,
    UsageError,
)
from support.command import run as run_command
from support.foreign_network import CLASSES, SAID, SIDE, Change, network, reference

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

from edge_effnet.converters.foreign import onnx_file, tflite  # noqa: E402
from edge_effnet.converters.foreign.export import export  # noqa: E402
from edge_effnet.converters.foreign.files import ForeignFiles  # noqa: E402
from edge_effnet.converters.foreign.preparation import Preparation  # noqa: E402


def test_how_photos_and_outputs_are_read_is_kept(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("3 d\n0 a\n4 a\n2 c\n1 b\n")
    said: list[str] = []
    preparation = replace(SAID, crop_mode="squash", output_activation="sigmoid")
    (path,) = export(
        saved(softmax=False), preparation, formats=["onnx"], labels=labels, out=tmp_path / "out",
        notify=said.append,
    )  # fmt: skip
    card = edge_effnet.open(path).card
    assert card.preprocess.crop_mode == "squash"
    assert card.multi_label
    assert card.labels == ("3 d", "0 a", "4 a", "2 c", "1 b")  # two are named a: no numbers
    labels.write_text("3 d\n0 a\n4 e\n2 c\n1 b\n")
    (path,) = export(
        saved(softmax=False), SAID, formats=["onnx"], labels=labels, out=tmp_path / "again",
        notify=said.append,
    )  # fmt: skip
    assert edge_effnet.open(path).card.labels == ("a", "b", "c", "d", "e")
    assert any("read as index and name" in text for text in said)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("formats", [("onnx", "openvino"), ("tflite",)])
def test_files_answer_as_the_authors_does(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, formats: tuple[str, ...], last: bool
) -> None:
    path = saved(last=last)
    made = export(
        path, SAID, formats=formats, precisions=("fp32", "fp16"), out=tmp_path / "out",
        notify=lambda text: None,
    )  # fmt: skip
    names = {
        "onnx": ["resnet-fp32.onnx", "resnet-fp16.onnx"],
        "openvino": ["resnet-fp32.xml", "resnet-fp16.xml"],
    }
    names["tflite"] = ["resnet-fp32.tflite", "resnet-fp16.tflite"]
    assert sorted(p.name for p in made) == sorted(n for f in formats for n in names[f])
    for file in made:
        classify = edge_effnet.open(file, threads=1)
        assert classify.card.source is not None
        assert (classify.card.source.kind, classify.card.source.file) == ("onnx", "resnet.onnx")
        card = classify.card
        if file.suffix == ".tflite":  # its first layers convert one mean to three
            preprocess = replace(card.preprocess, mean=SAID.mean, std=SAID.std)
            card = replace(card, preprocess=preprocess)
        assert card.preprocess.mean == SAID.mean
        photo = photos / "3.png"
        given = dict(classify(photo, top=CLASSES))
        expected = reference(path, photo, card, last)
        tolerance = 1e-4 if "fp32" in file.name else 1e-2
        for index, probability in enumerate(expected):
            assert given[f"class {index}"] == pytest.approx(probability, abs=tolerance)


def _unknown_layer(proto: Any) -> None:
    """A ReLU through Max, which has no counterpart in our graph."""
    node = next(node for node in proto.graph.node if node.name == "r0")
    node.op_type = "Max"
    node.input.append("zero")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"))


@pytest.mark.parametrize("change", [None, pytest.param(_unknown_layer, marks=pytest.mark.onnx2tf)])
def test_int8_through_ai_edge_quantizer(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, change: Change | None
) -> None:
    pytest.importorskip("ai_edge_quantizer")
    path = saved(change)
    (made,) = export(
        path, SAID, formats=["tflite"], precisions=["int8"], calibration=photos, out=tmp_path,
        quantizer="ai-edge-quantizer", notify=lambda text: None,
    )  # fmt: skip
    assert made.name == "resnet-int8-ai-edge-quantizer.tflite"
    classify = edge_effnet.open(made, threads=1)
    assert classify.card.quantization.calibration.photos == 12
    assert classify.runner.input.dtype == "int8"
    for photo in photos.iterdir():
        given, expected = dict(classify(photo)), reference(path, photo, classify.card)
        assert abs(given["class 0"] - expected[0]) < 0.1


def test_the_command(saved: Callable[..., Path], photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    done = run_command(
        "export", "auto", "--weights", saved(side="h"), "--formats", "onnx,openvino",
        "--precisions", "fp32", "--mean", "127.5", "--std", "127.5", "--class-names", labels,
        "--resolution", SIDE, "--out", tmp_path / "out", "--json", "-",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = [item["file"] for item in json.loads(done.stdout)["files"]]
    assert len(files) == 2
    for file in files:
        told = run_command("classify", file, photos / "0.png", "--top", "1")
        assert told.returncode == 0, told.stderr


def test_weights_beside_the_file(saved: Callable[..., Path], tmp_path: Path) -> None:
    """The files are those of the network in one file; the digest covers both parts."""
    path = tmp_path / "beside" / "resnet.onnx"
    path.parent.mkdir()
    onnx.save(
        network(side="h"), path, save_as_external_data=True, location="resnet.onnx.data",
        size_threshold=0,
    )  # fmt: skip
    (split,) = export(path, SAID, resolution=SIDE, formats=["openvino"], out=tmp_path / "1")
    (whole,) = export(saved(), SAID, formats=["openvino"], out=tmp_path / "2")
    assert split.with_suffix(".bin").read_bytes() == whole.with_suffix(".bin").read_bytes()
    first = edge_effnet.open(split).card.source
    data = bytearray((path.parent / "resnet.onnx.data").read_bytes())
    data[0] ^= 1
    (path.parent / "resnet.onnx.data").write_bytes(bytes(data))
    assert first is not None
    assert onnx_file.read(path, SIDE).sha256 != first.sha256


def test_a_file_of_ours_keeps_its_card(saved: Callable[..., Path], tmp_path: Path) -> None:
    (first,) = export(saved(), SAID, formats=["onnx"], out=tmp_path / "1")
    (again,) = export(first, Preparation(), formats=["openvino"], out=tmp_path / "2")
    assert edge_effnet.open(again).card.preprocess == edge_effnet.open(first).card.preprocess


def test_what_has_to_be_said(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved(side="h")
    with pytest.raises(UsageError, match="give resolution="):
        export(path, SAID, formats=["onnx"], out=tmp_path)
    with pytest.raises(UsageError, match="give mean= and std="):
        export(path, Preparation(), resolution=SIDE, formats=["onnx"], out=tmp_path)
    with pytest.raises(UsageError, match="takes 48 pixels, not 64"):
        export(saved(), SAID, resolution=64, formats=["onnx"], out=tmp_path)
    with pytest.raises(UsageError, match=r"cannot be exported in w8"):
        export(path, SAID, formats=["onnx"], precisions=["w8"], out=tmp_path)
    options = {"formats": ["onnx"], "precisions": ["int8"], "quantizer": "onnxruntime"}
    with pytest.raises(UsageError, match="int8 needs photos"):
        export(path, SAID, out=tmp_path, **options)
    with pytest.raises(CheckpointError, match="export auto --weights"):
        load("auto", path)
    assert not list(tmp_path.glob("*-fp32*"))


def _external(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../secret", 0, 16)
    tensor.ClearField("raw_data")


def _custom(proto: Any) -> None:
    proto.graph.node[1].domain = "mine"
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))


def _unknown(proto: Any) -> None:
    proto.graph.node[1].op_type = "Frobnicate"


def _second_input(proto: Any) -> None:
    value = onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1])
    proto.graph.input.append(value)


def _integers(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


def _grey(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def _dangling(proto: Any) -> None:
    proto.graph.node[2].input[0] = "nowhere"


def _noise(proto: Any) -> None:
    """As torch exports dropout in training mode (dynamo)."""
    nodes = list(proto.graph.node)
    noise = onnx.helper.make_node("RandomUniformLike", [nodes[1].output[0]], ["noise"])
    added = onnx.helper.make_node("Add", [nodes[1].output[0], "noise"], ["noisy"])
    for node in nodes[2:]:
        node.input[:] = ["noisy" if n == nodes[1].output[0] else n for n in node.input]
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes[:2], noise, added, *nodes[2:]])


def _dropout(proto: Any) -> None:
    """As torch's older exporter writes dropout in training mode."""
    values = {"ratio": np.float32(0.5), "mode": np.bool_(True)}
    tensors = [onnx.numpy_helper.from_array(np.array(v), n) for n, v in values.items()]
    proto.graph.initializer.append(tensors[0])
    nodes = list(proto.graph.node)
    mode = onnx.helper.make_node("Constant", [], ["mode"], value=tensors[1])
    relu = nodes[1]
    relu.op_type = "Dropout"
    relu.input.extend(["ratio", "mode"])
    del proto.graph.node[:]
    proto.graph.node.extend([mode, *nodes])


def _long_name(proto: Any) -> None:
    proto.graph.node[1].name = "n" * 1001


def _many_nodes(proto: Any) -> None:
    node = onnx.helper.make_node("Identity", [proto.graph.node[0].output[0]], [""])
    for number in range(20_000):
        node.output[0] = f"copy {number}"
        proto.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_long_name, "names of up to 1,001 characters"),
        (_many_nodes, r"has 20,\d+ nodes"),
        (_noise, r"training mode \(RandomUniformLike\).*model\.eval"),
        (_dropout, r"training mode \(Dropout\)"),
        (_external, "lie in another folder"),
        (_custom, "uses mine.Relu"),
        (_unknown, "not a valid .onnx file"),
        (_second_input, "has 2 inputs"),
        (_integers, "INT64"),
        (_grey, "is needed"),
        (_dangling, "not a valid .onnx file"),
    ],
)
def test_hostile_and_odd_files(
    saved: Callable[..., Path], tmp_path: Path, change: Change, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        export(saved(change), SAID, formats=["onnx"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_off_files(saved: Callable[..., Path], share: float) -> None:
    path = saved()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match=r"resnet\.onnx"):
        onnx_file.read(path)


def test_random_damage(saved: Callable[..., Path]) -> None:
    """A damaged file is read or refused in our own words."""
    path = saved()
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        data = bytearray(whole)
        for place in rng.integers(0, 400, 3):  # where the structure is
            data[place] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            onnx_file.read(path)
        except EdgeEffNetError:
            refused += 1
    assert refused > 10


def test_huge_files_are_refused(saved: Callable[..., Path], monkeypatch: Any) -> None:
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    with pytest.raises(CheckpointError, match="up to 1 GB"):
        onnx_file.read(saved())


def test_a_converter_that_errs_is_found_out(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """A file that answers otherwise is not written: here, with a weight changed on the way."""
    honest = ForeignFiles.write

    def write(files: Any, name: str, card: Any, samples: Any) -> Any:
        proto = onnx.ModelProto()
        proto.CopyFrom(files.network.proto)
        weight = proto.graph.initializer[0]
        weight.raw_data = bytes(len(weight.raw_data))
        files.network = replace(files.network, proto=proto)
        return honest(files, name, card, samples)

    monkeypatch.setattr(ForeignFiles, "write", write)
    with pytest.raises(CheckpointError, match=r"its logits differ from those of resnet\.onnx"):
        export(saved(), SAID, formats=["openvino"], out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.xml"))


def test_a_missing_tool_is_named(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(tflite, "find_spec", lambda name: None)
    path = saved(_unknown_layer)
    with pytest.raises(MissingExtra, match=r"does not know Max r0.*pip install .*\[onnx2tf\]'"):
        export(path, SAID, formats=["tflite"], out=tmp_path)
    with pytest.raises(MissingExtra, match=r"leave TFLite out: formats=\['onnx', 'openvino'\]"):
        export(path, SAID, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("outputs", [CLASSES, 1])
def test_a_last_sigmoid_is_read(saved: Callable[..., Path], tmp_path: Path, outputs: int) -> None:
    """Several outputs are labels of their own, one output is two classes."""

    def end_in_sigmoid(proto: Any) -> None:
        proto.graph.node[-1].op_type = "Sigmoid"
        del proto.graph.node[-1].attribute[:]
        for name in ("w9", "b9"):
            (tensor,) = (t for t in proto.graph.initializer if t.name == name)
            values = onnx.numpy_helper.to_array(tensor)[:outputs]
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
        proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = outputs

    path = saved(end_in_sigmoid, softmax=True)
    for file in export(path, SAID, formats=["onnx", "tflite"], out=tmp_path / "out"):
        classifier = edge_effnet.open(file, threads=1)
        assert classifier.card.output_activation == "sigmoid"
        assert classifier.card.multi_label == (outputs > 1)
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        mean, std = (np.asarray(v, np.float32) for v in (SAID.mean, SAID.std))
        values = np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])
        session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"image": values})
        logits = classifier.logits_of_pixels(pixels)
        ours = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(ours[-outputs:], expected[0], atol=1e-4)
