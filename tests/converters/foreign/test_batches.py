"""Batch sizes and probabilities of foreign networks, whose graph this package then writes anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.converters.foreign.export import export
from edge_effnet.errors import UsageError
from edge_effnet.names import Batch
from support.command import run as run_command
from support.foreign_network import CLASSES, SAID, SIDE, reference

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("openvino")

SUFFIXES: dict[Batch, str] = {4: "-batch-4", "dynamic": "-batch-dynamic"}


@pytest.mark.parametrize("batch", SUFFIXES)
@pytest.mark.parametrize("groups", [(1, 16), (1, 4, 16)], ids=["plain", "grouped"])
def test_a_batch_of_photos_gives_the_authors_answers(
    saved: Callable[..., Path], photos: Path, tmp_path: Path, batch: Batch, groups: tuple[int, ...]
) -> None:
    path, paths = saved(groups=groups), sorted(photos.iterdir())[:4]
    files = export(
        path, SAID, formats=["onnx", "openvino"], precisions=["fp32", "fp16"], batch=batch,
        softmax=True, out=tmp_path / "out", notify=lambda text: None,
    )  # fmt: skip
    assert {file.stem for file in files} == {
        f"resnet-{precision}{SUFFIXES[batch]}-softmax" for precision in ("fp32", "fp16")
    }
    for file in files:
        classify = edge_effnet.open(file, threads=1)
        assert classify.card.probabilities
        tensor = np.concatenate(
            [classify.tensor(classify.card.preprocess.exact_pixels(photo)) for photo in paths]
        )
        rows = classify.runner.run(tensor)
        assert rows.shape == (4, CLASSES)
        expected = [reference(path, photo, classify.card) for photo in paths]
        np.testing.assert_allclose(rows, expected, atol=1e-5 if "fp32" in file.name else 1e-2)


def test_int8_files_are_quantized_by_ours(
    saved: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    path = saved()
    files = export(
        path, SAID, formats=["tflite", "onnx", "openvino"], precisions=["int8"],
        calibration=photos, batch=2, softmax=True, out=tmp_path / "out",
        notify=lambda text: None,
    )  # fmt: skip
    assert [file.name for file in files] == [
        "resnet-int8-softmax.tflite",
        "resnet-int8-batch-2-softmax.onnx",
        "resnet-int8-batch-2-softmax.xml",
    ]
    for file in files:
        classify = edge_effnet.open(file, threads=1)
        assert classify.runner.input.batch == (1 if file.suffix == ".tflite" else 2)
        for photo in sorted(photos.iterdir())[:3]:
            given, expected = dict(classify(photo)), reference(path, photo, classify.card)
            assert abs(given["class 0"] - expected[0]) < 0.1


def test_what_cannot_be_written_anew_is_refused_by_name(
    saved: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    def unknown(proto: Any) -> None:
        node = next(node for node in proto.graph.node if node.name == "r0")
        node.op_type = "Max"
        node.input.append("zero")
        zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
        proto.graph.initializer.append(zero)

    def refused(path: Path, **options: Any) -> str:
        with pytest.raises(UsageError) as caught:
            export(path, SAID, out=tmp_path / "out", notify=lambda text: None, **options)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "has Max r0" in refused(saved(unknown), formats=["onnx"], batch=4)
    quantized: dict[str, Any] = {"precisions": ["int8"], "calibration": photos}
    assert "has Max r0" in refused(saved(unknown), formats=["onnx"], softmax=True, **quantized)
    assert "batch 1" in refused(
        saved(groups=(1,)), formats=["onnx"], batch=4, quantizer="onnxruntime", **quantized
    )
    assert "batch" in refused(saved(), formats=["tflite"], batch=4)
    assert "not a batch size" in refused(saved(), formats=["onnx"], batch=0)


def test_the_command_takes_both_options(saved: Callable[..., Path], tmp_path: Path) -> None:
    done = run_command(
        "export", saved(), "--formats", "onnx", "--precisions", "fp32", "--mean", "127.5",
        "--std", "127.5", "--batch", "dynamic", "--softmax", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "resnet-fp32-batch-dynamic-softmax.onnx"
    assert edge_effnet.open(file).card.preprocess.size == SIDE
