"""int8 .onnx files with QuickGelu: the same predictions, fewer operators, read by OpenVINO too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

for module in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

import onnx  # noqa: E402
import openvino  # noqa: E402

import edge_effnet  # noqa: E402
from edge_effnet.errors import UsageError  # noqa: E402
from edge_effnet.names import RecipeName  # noqa: E402
from support import tflite_models as small  # noqa: E402
from support.command import call, photos, refused  # noqa: E402

PIXELS = small.photos(4)


def exported(out: Path, recipe: RecipeName = "default", **options: bool) -> Path:
    (path,) = edge_effnet.export(
        small.model_of(small.SWISH),
        formats="onnx",
        precisions="int8",
        calibration=photos(),
        recipe=recipe,
        out=out,
        force=True,
        notify=lambda text: None,
        **options,
    )
    return path


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_predictions_are_those_of_standard_operators(tmp_path: Path) -> None:
    standard, contrib = exported(tmp_path / "a"), exported(tmp_path / "b", contrib_ops=True)
    before, after = operators(standard), operators(contrib)
    swishes = after["QuickGelu"]
    assert swishes > 2
    assert before["QuickGelu"] == 0
    assert before["Sigmoid"] - after["Sigmoid"] == before["Mul"] - after["Mul"] == swishes
    assert before["QuantizeLinear"] - after["QuantizeLinear"] == swishes
    onnx.checker.check_model(onnx.load(contrib))
    one, other = (edge_effnet.open(path, threads=1) for path in (standard, contrib))
    assert other.card.quantization == one.card.quantization
    expected, logits = (
        np.stack([each.logits_of_pixels(image) for image in PIXELS]) for each in (one, other)
    )
    noise = np.sum((logits - expected) ** 2) / np.sum(expected**2)
    assert 0 < noise < 10**-2  # 20 dB: a quantized sigmoid and an exact one
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(contrib), "CPU")
    batch = np.stack([np.moveaxis(PIXELS[0], -1, 0)])
    assert compiled([batch])[0].shape == (1, len(other.card.labels))


def test_a_sigmoid_with_another_reader_stays(tmp_path: Path) -> None:
    """Recipe best multiplies the sigmoid of a swish by the gate first."""
    shared = operators(exported(tmp_path / "a", "best", contrib_ops=True))
    plain = operators(exported(tmp_path / "b", contrib_ops=True))
    assert 0 < shared["QuickGelu"] < plain["QuickGelu"]
    assert shared["Sigmoid"] > plain["Sigmoid"]


def test_a_quantized_model_without_its_biases_is_refused(tmp_path: Path) -> None:
    """Biases of standard operators would shift the means of QuickGelu files."""
    model = small.model_of(small.SWISH)

    def written(contrib_ops: bool) -> bytes:
        quantized = edge_effnet.calibrate(model, photos(), contrib_ops=contrib_ops, notify=str)
        saved = quantized.save(tmp_path / f"{contrib_ops}.safetensors")
        (path,) = edge_effnet.export(
            edge_effnet.QuantizedModel.load(saved), formats="onnx", precisions="int8",
            contrib_ops=True, out=tmp_path / "later", force=True,
        )  # fmt: skip
        return path.read_bytes()

    with pytest.raises(UsageError, match=r"no biases for \.onnx files with QuickGelu") as refusal:
        written(False)
    assert refusal.value.hint == "calibrate on photos with contrib_ops=True"
    assert written(True) == exported(tmp_path / "once", contrib_ops=True).read_bytes()


def test_mixed_precision_has_it_too(tmp_path: Path) -> None:
    quantized = edge_effnet.calibrate(
        small.model_of(small.SWISH), photos(), float_budget=30, contrib_ops=True, notify=str
    )
    assert quantized.plan.float_layers
    (path,) = edge_effnet.export(
        quantized, formats="onnx", precisions="mixed", contrib_ops=True, out=tmp_path, force=True
    )
    assert operators(path)["QuickGelu"] > 0


def test_where_it_does_not_apply(tmp_path: Path) -> None:
    for options in ({"formats": "tflite"}, {"precisions": "fp32"}):
        with pytest.raises(UsageError, match=r"operators of ONNX Runtime are an option of int8"):
            edge_effnet.export(
                small.model_of(small.SWISH), out=tmp_path, contrib_ops=True,
                calibration=photos(), **options,  # type: ignore[arg-type]
            )  # fmt: skip
    message = refused(call("export", "lite0", "--contrib-ops", "--precisions", "fp32"))
    assert "with --contrib-ops add onnx to --formats and int8 to --precisions" in message
    (tmp_path / "net.onnx").write_bytes(b"x")
    assert "--contrib-ops" in refused(call("export", tmp_path / "net.onnx", "--contrib-ops"))
