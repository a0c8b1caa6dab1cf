"""Batch sizes of .onnx and OpenVINO files: predictions as with batch 1, and any number at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

for module in ("ai_edge_litert", "flatbuffers", "onnx", "onnxruntime", "openvino"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

import onnxruntime  # noqa: E402
import openvino  # noqa: E402

import edge_effnet  # noqa: E402
from edge_effnet.errors import UsageError  # noqa: E402
from edge_effnet.names import Batch  # noqa: E402
from support import tflite_models as small  # noqa: E402
from support.command import call, done, exported, file, photos, refused  # noqa: E402

PIXELS = np.stack(small.photos(5))
BATCHES: tuple[Batch, ...] = (3, "dynamic")


@pytest.fixture(scope="module", params=BATCHES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("batch")
    edge_effnet.export(
        small.model_of(small.LITE),
        formats=("tflite", "onnx", "openvino"),
        calibration=photos(),
        batch=request.param,
        out=out,
        notify=lambda text: None,
    )
    return out


def test_names(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"tiny-lite-fp32.tflite", "tiny-lite-int8.tflite"} < names
    others = [name for name in names if not name.endswith(".tflite")]
    assert len(others) == 6
    assert all("-batch-3." in name or "-batch-dynamic." in name for name in others)


def test_info_states_a_fixed_batch(folder: Path) -> None:
    (path,) = folder.glob("*-fp32-batch-*.onnx")
    text = done(call("info", path))
    assert ("3 images at once" in text) == ("batch-3" in path.name)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_are_those_of_batch_1(folder: Path, precision: str, suffix: str) -> None:
    """Five images: a full batch of three and one that is filled up."""
    (path,) = folder.glob(f"*-{precision}-batch-*{suffix}")
    batched = edge_effnet.open(path, threads=1)
    single = edge_effnet.open(file(precision, suffix), threads=1)
    images = list(PIXELS)
    expected = np.stack([single.logits_of_pixels(pixels) for pixels in images])
    alone = np.stack([batched.logits_of_pixels(pixels) for pixels in images])
    # Kernels for several images may add in another order.
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(batched.logits_of_batch(images), expected, rtol=1e-4, atol=1e-4)
    cropped = batched.logits(images), single.logits(images)
    np.testing.assert_allclose(*cropped, rtol=1e-4, atol=1e-4)


def test_runtimes_take_several_images(folder: Path) -> None:
    """Without our Runner, as other programs do."""
    (path,) = folder.glob("*-int8-batch-*.onnx")
    count = 3 if "batch-3" in path.name else 5
    images = PIXELS[:count].transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(path)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: images})
    assert outputs.shape == (count, 10)
    model = openvino.Core().compile_model(path.with_suffix(".xml"), "CPU")
    assert model(images)[0].shape == (count, 10)


@pytest.mark.parametrize("batch", [0, -1, 1025, "many", "3"])
def test_no_batch_size(batch: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a batch size: give a number from 1 to 1024"):
        edge_effnet.export(small.model_of(small.LITE), batch=batch, out=tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_tflite_alone_has_batch_1(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only ONNX and OpenVINO files"):
        edge_effnet.export(small.model_of(small.LITE), formats="tflite", batch=2, out=tmp_path)


def test_the_command(tmp_path: Path) -> None:
    options = ("lite0", "--weights", "random", "--resolution", 64, "--formats", "onnx")
    options = (*options, "--precisions", "fp32", "--out", tmp_path)
    done(call("export", *options, "--batch", "dynamic"))
    assert [path.name for path in tmp_path.iterdir()] == [
        "efficientnet-lite0-fp32-batch-dynamic.onnx"
    ]
    assert "is not a batch size" in refused(call("export", *options, "--batch", "two"))


def test_latency_is_that_of_one_image(folder: Path) -> None:
    """A batch of three is refused; a file for any number is timed with one image."""
    (path,) = folder.glob("*-fp32-batch-*.onnx")
    files = [path, exported() / "tiny-lite-fp32.onnx"]
    record, single = edge_effnet.benchmark(files, runs=3).records
    assert single.latency_ms is not None
    if "batch-3" in path.name:
        assert "takes 3 images at once" in (record.error or "")
    else:
        assert record.error is None
