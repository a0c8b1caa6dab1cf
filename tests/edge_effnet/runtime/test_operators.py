"""Operators of strangers' files: what image classifiers do without is refused, unless allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet import open as open_file
from edge_effnet.errors import ModelFileError
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime import onnx_verifier, openvino_verifier, tflite_operators
from support import command
from support.command import SIDE, SUFFIXES, copy_of, file

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
DESCRIBED = Preprocess(SIDE, 0.875)


def network(*nodes: Any, constants: tuple[Any, ...] = (), functions: tuple[Any, ...] = ()) -> bytes:
    """An .onnx file from image to "logits"."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        list(nodes),
        "net",
        [value("image", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [value("logits", onnx.TensorProto.FLOAT, None)],
        list(constants),
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, functions=list(functions))
    model.ir_version = 8
    return bytes(model.SerializeToString())


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


POOL = node("GlobalAveragePool", "image", "pooled")
FLAT = node("Flatten", "pooled", "logits")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_our_files_pass(precision: str, suffix: str) -> None:
    path = file(precision, suffix)
    data = path.read_bytes()
    if suffix == ".onnx":
        onnx_verifier.check(data, "net")
    elif suffix == ".tflite":
        tflite_operators.check(data, "net")
    else:
        openvino_verifier.check(data, path.with_suffix(".bin").read_bytes(), "net")


def test_a_plain_network_passes(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(network(POOL, FLAT))
    assert open_file(path, preprocess=DESCRIBED, labels=["a", "b", "c"])


def test_other_operators_are_named_and_can_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(network(POOL, node("Det", "pooled", "d"), FLAT))
    described = ["--resolution", SIDE, "--mean", "127", "--std", "128"]
    photo = command.photos() / "photo-0.jpg"
    refused = command.run("classify", path, photo, *described)
    assert refused.returncode == 2
    assert "has the operators Det, which image classifiers do without" in refused.stderr
    assert "--allow-operators Det" in refused.stderr
    with pytest.raises(ModelFileError, match=r"allow_operators=\['Det'\]"):
        open_file(path, preprocess=DESCRIBED)
    allowed = open_file(path, preprocess=DESCRIBED, allow_operators=["Det"])
    assert allowed.logits([np.zeros((SIDE, SIDE, 3), np.uint8)]).shape == (1, 3)
    assert open_file(path, preprocess=DESCRIBED)  # remembered


def branch() -> Any:
    body = onnx.helper.make_graph(
        [node("Identity", "image", "out")],
        "body",
        [],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
    )
    return node("If", "yes", "chosen", then_branch=body, else_branch=body)


def outside() -> Any:
    tensor = onnx.TensorProto(name="w", dims=[4], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    return tensor


def huge(*dims: int) -> Any:
    return onnx.TensorProto(name="w", dims=dims, data_type=onnx.TensorProto.FLOAT, raw_data=b"0000")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: network(POOL, FLAT, branch()), "a graph inside"),
        (lambda: network(POOL, FLAT, constants=(outside(),)), "lie in other files"),
        (lambda: network(POOL, FLAT, constants=(huge(2**40),)), "too large"),
        (lambda: network(POOL, FLAT, constants=(huge(-1),)), "too large"),
        (lambda: network(POOL, FLAT, constants=(huge(2),)), "data of another size"),
        (lambda: network(POOL, node("Constant", "", "c", value=huge(9)), FLAT), "another size"),
        (lambda: network(POOL, FLAT)[:-9], "not a sound .onnx file"),
        (lambda: b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not a sound .onnx file"),
    ],
)
def test_unsound_onnx_files(data: Any, reason: str) -> None:
    with pytest.raises(ModelFileError, match=reason):
        onnx_verifier.check(data(), "net.onnx")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('type="MatMul"', 'type="NonZero"', "operators NonZero"),
        ("<net ", '<!DOCTYPE net [<!ENTITY a "b">]><net ', "declares entities"),
        ('element_type="f32" shape="', 'element_type="f64" shape="9,', "another size"),
        ('offset="0"', 'offset="999999999"', "out of range"),
        ('offset="0"', 'offset="-4"', "out of range"),
        ("<dim>64</dim>", "<dim>99999999999</dim>", "too large"),
        ("<dim>64</dim>", "<dim>" + "9" * 5000 + "</dim>", "too long"),
        ('from-layer="0"', 'from-layer="nobody"', "leads to no layer"),
        ("</layers>", "", "not a sound OpenVINO IR file"),
    ],
)
def test_unsound_openvino_files(old: str, new: str, reason: str) -> None:
    path = file("fp32", ".xml")
    xml = path.read_text()
    assert old in xml
    weights = path.with_suffix(".bin").read_bytes()
    with pytest.raises(ModelFileError, match=reason):
        openvino_verifier.check(xml.replace(old, new, 1).encode(), weights, "net.xml")


def changed_tflite(change: Any) -> bytes:
    """The int8 .tflite file after ``change`` of its model, an object of the schema's classes."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    data = file("int8", ".tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_tflite_operators() -> None:
    def while_loop(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 119
        model.operatorCodes[0].deprecatedBuiltinCode = 119

    def custom(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 32
        model.operatorCodes[0].deprecatedBuiltinCode = 32
        model.operatorCodes[0].customCode = b"FlexWriteFile"

    def unscaled(model: Any) -> None:
        tensors = model.subgraphs[0].tensors
        next(each for each in tensors if each.type == 9 and each.buffer).quantization = None

    tflite_operators.check(changed_tflite(lambda model: None), "net.tflite")
    with pytest.raises(ModelFileError, match=r"operators BUILTIN_119, .*allow_operators="):
        tflite_operators.check(changed_tflite(while_loop), "net.tflite")
    tflite_operators.check(changed_tflite(while_loop), "net.tflite", {"BUILTIN_119"})
    with pytest.raises(ModelFileError, match="operators FlexWriteFile"):
        tflite_operators.check(changed_tflite(custom), "net.tflite")
    with pytest.raises(ModelFileError, match="has no scale"):
        tflite_operators.check(changed_tflite(unscaled), "net.tflite")


def test_a_runtimes_error_while_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = open_file(copy_of(file("fp32", ".onnx"), tmp_path / "net.onnx"))

    class Broken:
        def run(self, *_: object) -> None:
            raise Exception("[ONNXRuntimeError] : 1 : FAIL : Non-zero status code")

    monkeypatch.setattr(classifier.runner, "_session", Broken())
    with pytest.raises(ModelFileError, match=r"ONNX Runtime stopped running .*net\.onnx"):
        classifier(command.photos() / "photo-0.jpg")
