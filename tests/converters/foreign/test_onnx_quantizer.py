"""int8 and fp16 .onnx and OpenVINO files of foreign classifiers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.errors import MissingExtra, QuantizationError

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

from edge_effnet.converters.foreign import onnx_file, onnx_quantizer  # noqa: E402
from edge_effnet.converters.foreign.export import export  # noqa: E402
from support.foreign_network import CLASSES, SAID, reference  # noqa: E402


@pytest.mark.parametrize(
    ("quantizer", "last"), [("nncf", False), ("nncf", True), ("onnxruntime", False)]
)
def test_int8_of_onnx_and_openvino(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, quantizer: Any, last: bool
) -> None:
    pytest.importorskip(quantizer)
    path = saved(last=last)
    paths = export(
        path, SAID, formats=["onnx", "openvino"], precisions=["int8"], calibration=photos,
        out=tmp_path / "out", quantizer=quantizer, notify=lambda text: None,
    )  # fmt: skip
    assert [p.name for p in paths] == [
        f"resnet-int8-{quantizer}.onnx",
        f"resnet-int8-{quantizer}.xml",
    ]
    for file in paths:
        classify = edge_effnet.open(file, threads=1)
        quantization = classify.card.quantization
        assert quantization is not None
        assert quantization.calibration is not None
        assert (quantization.quantizer, quantization.calibration.photos) == (quantizer, 12)
        for photo in photos.iterdir():
            given, expected = dict(classify(photo)), reference(path, photo, classify.card, last)
            assert abs(given["class 0"] - expected[0]) < 0.1
    stored = onnx.load(paths[0])
    kinds = {node.op_type for node in stored.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    weights = [t for t in stored.graph.initializer if len(t.dims) == 4]
    assert weights
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}


def test_a_collapsed_int8_file_is_refused(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def quantize(network: Any, batches: Any, quantizer: str) -> Any:
        proto = onnx.ModelProto()
        proto.CopyFrom(network.proto)
        weight = next(t for t in proto.graph.initializer if t.name == "w9")
        weight.raw_data = (-np.frombuffer(weight.raw_data, np.float32)).tobytes()
        return proto

    monkeypatch.setattr(onnx_quantizer, "quantize", quantize)
    arguments = dict(  # noqa: C408
        formats=["onnx"],
        precisions=["int8"],
        calibration=photos,
        quantizer="onnxruntime",
        notify=lambda text: None,
    )
    with pytest.raises(QuantizationError, match="top-1 agreement"):
        export(saved(), SAID, out=tmp_path / "out", **arguments)
    assert not list((tmp_path / "out").iterdir())
    (path,) = export(saved(), SAID, out=tmp_path / "out", force=True, **arguments)
    assert edge_effnet.open(path).card.quantization.forced


def test_fp16_stores_half_the_bytes(saved: Callable[..., Path], tmp_path: Path) -> None:
    def enlarge(proto: Any) -> None:
        (tensor,) = (t for t in proto.graph.initializer if t.name == "b9")
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(CLASSES, 1e5, np.float32), "b9"))

    (path,) = export(saved(enlarge), SAID, formats=["onnx"], precisions=["fp16"], out=tmp_path)
    kinds = {t.name: t.data_type for t in onnx.load(path).graph.initializer}
    assert kinds["w0/half"] == onnx.TensorProto.FLOAT16
    assert kinds["b9"] == onnx.TensorProto.FLOAT


def test_a_missing_nncf_is_named(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtra, match=r"\[nncf\].*quantizer='onnxruntime'"):
        export(
            saved(), SAID, formats=["onnx"], precisions=["int8"], calibration=photos,
            out=tmp_path / "out", quantizer="nncf",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_slow_int8_file_is_said(saved: Callable[..., Path]) -> None:
    def use_sigmoid(proto: Any) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "HardSwish")
        node.op_type = "Sigmoid"

    swish = onnx_file.read(saved(use_sigmoid))
    assert "may be slower than fp32" in onnx_quantizer.latency_warning(swish, "nncf")
    assert not onnx_quantizer.latency_warning(swish, "onnxruntime")
    assert not onnx_quantizer.latency_warning(onnx_file.read(saved()), "nncf")
