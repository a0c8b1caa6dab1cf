"""The quantizer of a foreign network is the one that measures best on photos held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_effnet
from edge_effnet.card import CalibrationRecord
from edge_effnet.describe import describe_file, file_sheet
from edge_effnet.errors import QuantizationError, UsageError
from support.command import run as run_command

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

from edge_effnet.calibration.fidelity import Fidelity  # noqa: E402
from edge_effnet.calibration.samples.photos import Samples  # noqa: E402
from edge_effnet.converters.foreign import choice, onnx_quantizer  # noqa: E402
from edge_effnet.converters.foreign.export import export  # noqa: E402
from support.foreign_network import SAID, SIDE, reference  # noqa: E402


@pytest.fixture
def many_photos(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(2)
    for index in range(30):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((80, 60)).save(folder / f"{index:02}.png")
    return folder


@pytest.mark.parametrize("format_name", ["onnx", "openvino", "tflite"])
def test_the_most_accurate_quantizer_is_kept(
    saved: Callable[..., Path], many_photos: Path, tmp_path: Path, format_name: str
) -> None:
    path, said = saved(groups=(1, 16)), list[str]()
    (made,) = export(
        path, SAID, formats=[format_name], precisions=["int8"], calibration=many_photos,
        out=tmp_path / "out", notify=said.append,
    )  # fmt: skip
    classifier = edge_effnet.open(made, threads=1)
    quantization = classifier.card.quantization
    assert quantization is not None
    assert quantization.calibration is not None
    assert quantization.calibration.photos == 24
    assert len(quantization.compared) >= 2
    assert {each.photos for each in quantization.compared} == {6}
    best = max(quantization.compared, key=lambda each: each.sqnr_db)
    assert quantization.quantizer == best.quantizer
    assert f"{best.quantizer} {best.sqnr_db:.1f} dB" in file_sheet(describe_file(str(made)))
    (sentence,) = (text for text in said if "quantized by" in text)
    assert f"quantized by {best.quantizer}" in sentence
    assert "6 photos not calibrated on" in sentence
    # The figure of the card, measured again by the finished file.
    outputs = [
        (reference(path, photo, classifier.card), dict(classifier(photo)))
        for photo in sorted(many_photos.iterdir())[4::5]
    ]
    same = [expected.argmax() == int(max(given, key=given.get)[-1]) for expected, given in outputs]
    assert np.mean(same) == pytest.approx(best.agreement, abs=1e-3)


def test_our_integers_come_from_the_same_photos_in_all_formats(
    saved: Callable[..., Path], many_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one format has no other quantizer, and so nothing to compare."""
    available = choice.candidates

    def without_google(format_name: str, requested: str | None, all_known: bool) -> list[str]:
        names = available(format_name, requested, all_known)
        return [name for name in names if name != "ai-edge-quantizer"]

    monkeypatch.setattr(choice, "candidates", without_google)
    made = export(
        saved(), SAID, formats=["tflite", "onnx"], precisions=["int8"], calibration=many_photos,
        out=tmp_path / "out", notify=lambda text: None,
    )  # fmt: skip
    tflite, onnx_file = (edge_effnet.open(path, threads=1).card.quantization for path in made)
    assert tflite is not None
    assert onnx_file is not None
    assert tflite.quantizer == "edge-effnet"
    assert tflite.compared == ()
    assert tflite.calibration is not None
    assert tflite.calibration.photos == 24
    assert onnx_file.calibration == tflite.calibration


def test_a_failing_quantizer_is_said_and_left_out(
    saved: Callable[..., Path], many_photos: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def fail(network: Any, batches: Any, quantizer: str) -> Any:
        raise QuantizationError(f"the quantizer {quantizer} failed on {network.file}")

    monkeypatch.setattr(onnx_quantizer, "quantize", fail)
    said: list[str] = []
    (made,) = export(
        saved(groups=(1, 16)), SAID, formats=["onnx"], precisions=["int8"],
        calibration=many_photos, out=tmp_path / "out", notify=said.append,
    )  # fmt: skip
    assert made.name == "resnet-int8.onnx"
    assert any("the quantizer onnxruntime failed on resnet.onnx" in text for text in said)


def test_the_command(saved: Callable[..., Path], many_photos: Path, tmp_path: Path) -> None:
    """The command compares by default, and obeys a quantizer that is given."""
    common = (
        "export", saved(groups=(1, 16)), "--formats", "tflite", "--precisions", "int8",
        "--mean", "127.5", "--std", "127.5", "--calibration", many_photos, "--resolution", SIDE,
    )  # fmt: skip
    done = run_command(*common, "--out", tmp_path / "1", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert "6 photos not calibrated on: " in done.stderr
    assert len(json.loads(done.stdout)["files"]) == 1
    done = run_command(*common, "--out", tmp_path / "2", "--quantizer", "edge-effnet")
    assert done.returncode == 0, done.stderr
    assert "quantized by" not in done.stderr
    card = edge_effnet.open(tmp_path / "2" / "resnet-int8.tflite").card
    assert card.quantization is not None
    assert (card.quantization.calibration.photos, card.quantization.compared) == (30, ())
    done = run_command(*common, "--out", tmp_path / "3", "--quantizer", "nncf")
    assert done.returncode == 2
    assert "nncf makes no int8 file in tflite" in done.stderr


def _use_floor(proto: Any) -> None:
    next(node for node in proto.graph.node if node.name == "r0").op_type = "Floor"


def test_our_quantizer_names_the_layer_that_it_does_not_know(
    saved: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"edge-effnet cannot quantize.*does not know Floor r0"):
        export(
            saved(_use_floor), SAID, formats=["onnx"], precisions=["int8"], calibration=photos,
            out=tmp_path / "out", quantizer="edge-effnet",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format_name", ["onnx", "openvino", "tflite"])
def test_our_quantizer_on_hard_sigmoid_gates(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, format_name: str
) -> None:
    """MobileNetV3: hard swish, and squeeze-excite with a hard sigmoid."""
    path = saved(gate=True)
    (float_file,) = export(path, SAID, formats=["onnx"], out=tmp_path)
    (made,) = export(
        path, SAID, formats=[format_name], precisions=["int8"], calibration=photos, out=tmp_path,
        quantizer="edge-effnet", notify=lambda text: None,
    )  # fmt: skip
    classifier, card = edge_effnet.open(made, threads=1), edge_effnet.open(float_file).card
    for photo in photos.iterdir():
        given, expected = dict(classifier(photo)), reference(path, photo, card)
        assert abs(given["class 0"] - expected[0]) < 0.1


def test_a_collapsed_file_is_not_chosen_for_its_sqnr() -> None:
    fidelities = {"a": Fidelity(0.7, 9.0, 25), "b": Fidelity(0.9, 8.0, 25), "c": Fidelity(1, 7, 25)}
    assert choice.best(fidelities) == "b"
    assert choice.best({"a": Fidelity(0.7, 9.0, 25), "d": Fidelity(0.6, 9.5, 25)}) == "d"


def test_few_photos_serve_for_both() -> None:
    pixels = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    names = tuple((f"{index}.png", "") for index in range(30))
    record = CalibrationRecord(30, 30, "", names)
    kept, held_out = choice.divide(Samples(pixels, record))
    assert held_out[:, 0, 0, 0].tolist() == [4, 9, 14, 19, 24, 29]
    assert len(kept.pixels) == kept.record.photos == len(kept.record.manifest) == 24
    assert "4.png" not in dict(kept.record.manifest)
    few = Samples(pixels[:24], CalibrationRecord(24, 24, "", names[:24]))
    same, all_of_them = choice.divide(few)
    assert same is few
    assert all_of_them is few.pixels
