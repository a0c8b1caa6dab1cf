"""Class activation maps: in every format they average to the logit, and change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.apps.activation import with_activation
from edge_effnet.apps.activation.maps import rows_of, weigh
from edge_effnet.converters.formats import onnx as onnx_converter
from edge_effnet.errors import ModelFileError
from support import command
from support import tflite_models as small

FORMATS = {".tflite": "tflite", ".onnx": "onnx", ".xml": "openvino"}
FILES = [(precision, suffix) for precision in ("fp32", "int8") for suffix in command.SUFFIXES]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return small.photos(1)[0]


@pytest.mark.parametrize(("precision", "suffix"), FILES)
def test_the_map_averages_to_the_logit(precision: str, suffix: str, photo: np.ndarray) -> None:
    """The network averages, then weighs; the map weighs, then averages: the same but for the bias
    and, in int8 files, for the rounding of the pooled vector and of the logits.
    """
    path = command.file(precision, suffix)
    plain = edge_effnet.open(path, threads=1)
    explained, runner = with_activation(plain)
    logits = explained.logits([photo])[0]
    assert np.array_equal(logits, plain.logits([photo])[0])
    model = small.model_of(small.LITE)
    bias = model.weights["classifier.bias"]
    means = np.array([runner.activation(label).mean() for label in range(len(bias))]) + bias
    step = 1e-4 if precision == "fp32" else np.ptp(logits) / 20
    clipped = np.clip(means, logits.min(), logits.max())  # as uint8 logits are
    assert np.abs(clipped - logits).max() <= step
    assert runner.activation(0).shape == (8, 8)


def test_the_formats_agree(photo: np.ndarray) -> None:
    """int8 and float, three runtimes: the same places light up."""
    maps = []
    for precision, suffix in FILES:
        classifier, runner = with_activation(edge_effnet.open(command.file(precision, suffix)))
        classifier.logits([photo])
        maps.append(runner.activation(3).ravel())
    assert np.corrcoef(maps).min() > 0.97


@pytest.mark.parametrize("suffix", command.SUFFIXES)
def test_against_the_reference_in_numpy(suffix: str, photo: np.ndarray) -> None:
    """Place by place: neither turned nor mirrored."""
    model = small.model_of(small.LITE)
    classifier, runner = with_activation(edge_effnet.open(command.file("fp32", suffix)))
    tensors = small.evaluate(
        model, small.normalised(model, classifier.card.preprocess.pixels(photo))
    )
    classifier.logits([photo])
    for label in range(small.CLASSES):
        weights = model.weights["classifier.weight"][label]
        wanted = sum(w * plane for w, plane in zip(weights, tensors["head.act"], strict=True))
        np.testing.assert_allclose(runner.activation(label), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("suffix", command.SUFFIXES)
def test_other_networks_are_refused(suffix: str, tmp_path: Path) -> None:
    """The baseline ends in two dense layers."""
    model = small.baseline()
    path = tmp_path / f"baseline{suffix}"
    if suffix == ".tflite":
        from edge_effnet.converters.formats.tflite import writer

        path.write_bytes(writer.write(model, None, small.card_of(model)))
    elif suffix == ".onnx":
        path.write_bytes(onnx_converter.write(model, None, small.card_of(model)))
    else:
        from edge_effnet.converters.formats import openvino

        xml, weights = openvino.write(model, None, small.card_of(model))
        path.write_bytes(xml)
        path.with_suffix(".bin").write_bytes(weights)
    from edge_effnet import digest

    companion = path.with_suffix(".bin").read_bytes() if suffix == ".xml" else b""
    path.write_bytes(digest.stamp(path.read_bytes(), companion))
    with pytest.raises(ModelFileError, match="no class activation map"):
        with_activation(edge_effnet.open(path))


@pytest.mark.parametrize("suffix", command.SUFFIXES)
def test_half_precision(suffix: str, photo: np.ndarray, tmp_path: Path) -> None:
    """float16 weights: the file's own logits, and the float32 file's map."""
    model = small.model_of(small.LITE)
    (path,) = edge_effnet.export(
        model, formats=[FORMATS[suffix]], precisions=("fp16",), out=tmp_path
    )
    plain = edge_effnet.open(path, threads=1)
    explained, runner = with_activation(plain)
    assert np.array_equal(explained.logits([photo])[0], plain.logits([photo])[0])
    whole, wanted = with_activation(edge_effnet.open(command.file("fp32", suffix), threads=1))
    whole.logits([photo])
    for label in range(small.CLASSES):
        ours, theirs = runner.activation(label), wanted.activation(label)
        assert np.abs(ours - theirs).max() <= 0.02 * np.abs(theirs).max()


def test_weights_either_way_round() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(rows_of(table, 4, "f"), table)
    assert np.array_equal(rows_of(table.T, 4, "f"), table)
    assert np.array_equal(rows_of(table[:, :, None, None], 4, "f"), table)
    with pytest.raises(ModelFileError, match="weights are"):
        rows_of(table, 5, "f")


def test_weighing() -> None:
    features = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    weights = np.array([2.0, -1.0], np.float32)
    assert np.array_equal(weigh(features, weights), 2 * features[0] - features[1])
