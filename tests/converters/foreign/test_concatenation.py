"""int8 files of foreign networks with concatenations and grouped convolutions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")

import edge_effnet
from edge_effnet.converters.foreign.export import export
from support.foreign_network import SAID, reference
from support.onnx_builder import CHANNELS, RNG, Builder
from support.tflite_contents import contents


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """The same networks in any order of the tests: QUANTIZE operators depend on the weights."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def _fire(b: Builder) -> None:
    """SqueezeNet and GoogLeNet: branches that only a concatenation reads, and one maximum."""
    squeezed = b.add("Relu", b.conv(strides=[2, 2]))
    narrow = b.add("Relu", b.conv(CHANNELS, CHANNELS, 1))
    b.x = squeezed
    wide = b.add("Relu", b.conv(CHANNELS, CHANNELS, pads=[1] * 4))
    largest = b.add("MaxPool", squeezed, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    b.add("Concat", narrow, wide, largest, axis=1)
    b.conv(into=3 * CHANNELS, kernel=1)


def _dense_block(b: Builder) -> None:
    """DenseNet: features that several concatenations read, each normalised anew."""
    features = [b.add("Relu", b.conv(strides=[2, 2]))]
    for count in (1, 2):
        b.add("Mul", b.x, b.weight(count * CHANNELS, 1, 1))
        features.append(b.conv(into=count * CHANNELS, pads=[1] * 4))
        b.add("Concat", *features, axis=1)
    b.add("Relu", b.conv(into=3 * CHANNELS, kernel=1))


def _inputs_with_other_parameters(b: Builder) -> None:
    """A sum, a sigmoid, the image and a tensor with two readers: all are requantized."""
    z = b.conv(CHANNELS, pads=[1] * 4)
    gate = b.add("Sigmoid", b.conv(CHANNELS, CHANNELS, 1))
    total = b.add("Add", z, b.conv(CHANNELS, CHANNELS, 1))
    b.add("Concat", z, gate, total, "image", axis=1)
    b.conv(into=3 * CHANNELS + 3)


def _groups(b: Builder) -> None:
    """ResNeXt's and RegNet's groups, and two output channels for each input channel."""
    shortcut = b.add("Relu", b.conv(strides=[2, 2]))
    b.add("Relu", b.conv(2 * CHANNELS, CHANNELS // 4, group=4, pads=[1] * 4))
    b.add("Relu", b.conv(4 * CHANNELS, 1, group=2 * CHANNELS, pads=[1] * 4))
    b.add("HardSwish", b.conv(CHANNELS, 2 * CHANNELS, group=2, kernel=1))
    b.add("Relu", b.add("Add", shortcut, b.conv(CHANNELS, CHANNELS // 2, group=2, kernel=1)))


#: Network -> the QUANTIZE operators of its TFLite file, besides those of input and output.
QUANTIZES: dict[Callable[[Builder], None], int] = {
    _fire: 0,
    _dense_block: 2,  # another node reads the first feature, and two concatenations
    _inputs_with_other_parameters: 4,
    _groups: 0,
}


@pytest.mark.parametrize("body", QUANTIZES, ids=lambda body: body.__name__)
def test_int8_files_keep_the_logits(
    body: Callable[[Builder], None], photos: Path, tmp_path: Path
) -> None:
    builder = Builder(side=32)
    body(builder)
    builder.head()
    path = builder.save(tmp_path / "net.onnx")
    files = export(
        path, SAID, precisions=["fp32", "int8"], calibration=photos, quantizer="edge-effnet",
        out=tmp_path / "out", notify=lambda text: None,
    )  # fmt: skip
    assert len(files) == 6
    pictures = sorted(photos.iterdir())
    card = edge_effnet.open(tmp_path / "out" / "net-fp32.onnx").card
    expected = np.stack([reference(path, photo, card) for photo in pictures])
    spread = np.std(expected, axis=0).mean()
    for file in files:
        logits = edge_effnet.open(file, threads=1).logits([str(photo) for photo in pictures])
        error = np.abs(logits - expected).max() / spread
        assert error < (0.35 if "int8" in file.name else 1e-4), (file.name, error)
    operators = contents((tmp_path / "out" / "net-int8.tflite").read_bytes())[2]
    names = [name for name, _, _ in operators]
    assert names.count("QUANTIZE") == QUANTIZES[body] + 2
    if body is not _groups:
        assert "CONCATENATION" in names


def test_the_pair_rule_holds_within_each_group(photos: Path, tmp_path: Path) -> None:
    """Neighbouring weights of AVX2's products must not saturate: |w1 + w2| <= 128."""
    builder = Builder(side=32)
    _groups(builder)
    builder.head()
    (file,) = export(
        builder.save(tmp_path / "net.onnx"), SAID, formats=["onnx"], precisions=["int8"],
        calibration=photos, quantizer="edge-effnet", out=tmp_path, notify=lambda text: None,
    )  # fmt: skip
    onnx = pytest.importorskip("onnx")

    def grouped(tensor: Any) -> bool:
        return tensor.data_type == onnx.TensorProto.INT8 and list(tensor.dims)[1:] == [2, 3, 3]

    proto = onnx.load(file)
    (weight,) = (onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if grouped(t))
    rows = weight.transpose(0, 2, 3, 1).astype(int)
    assert np.abs(rows[..., 0] + rows[..., 1]).max() <= 128
