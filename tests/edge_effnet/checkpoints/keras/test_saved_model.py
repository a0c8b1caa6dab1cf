"""SavedModel folders and TensorFlow checkpoints in the form of Keras 2, and those that it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.checkpoints import load
from edge_effnet.errors import CheckpointError
from support.keras_models import SIDE, answers, application, pixels
from support.onnx_logits import relative, run

tf: Any = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def b0() -> Any:
    return application("EfficientNetB0", classes=7)


def variables(model: Any) -> dict[str, Any]:
    """TensorFlow variables under Keras 2's names, with an optimizer's beside them."""
    found = {}
    for layer in model.layers:
        for value in layer.weights:
            name = f"{layer.name}/{value.name}"
            found[name] = tf.Variable(np.asarray(value), name=name)
    slot = "Adam/m/stem_conv/kernel"
    return found | {slot: tf.Variable(np.ones((3, 3, 3, 32), np.float32), name=slot)}


def write_bundle(model: Any, prefix: Path) -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    # The trainable ones last: the order of the file is not that of the network.
    values = sorted(variables(model).values(), key=lambda v: v.name, reverse=True)
    tf.train.Checkpoint(values=values).write(str(prefix))


def field(number: int, content: bytes) -> bytes:
    """A protocol buffer's field of bytes."""
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


@pytest.fixture(scope="module")
def folder(b0: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with the two parts that are read."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    write_bundle(b0, folder / "variables" / "variables")
    (folder / "saved_model.pb").write_bytes(b"")
    config = json.loads(b0.to_json())
    shape = config["config"]["layers"][0]["config"]
    shape["batch_shape"] = {"class_name": "__tuple__", "items": shape["batch_shape"]}
    root = field(3, b"root") + field(5, json.dumps(config).encode())
    other = field(3, b"root.layer-1") + field(5, b"{}")
    (folder / "keras_metadata.pb").write_bytes(field(1, other) + field(1, root))
    return folder


@pytest.mark.parametrize("inside", ["", "saved_model.pb"])
def test_a_saved_model_is_read(b0: Any, folder: Path, inside: str) -> None:
    model = load("auto", folder / inside)
    assert (model.variant.short_name, model.classes) == ("b0", 7)
    assert model.graph.input_shape == (3, SIDE, SIDE)
    assert relative(run(model, pixels()), answers(b0, pixels())) < 1e-4


def test_weights_in_tensorflows_format_are_read(b0: Any, tmp_path: Path) -> None:
    write_bundle(b0, tmp_path / "weights.ckpt")
    told: list[str] = []
    model = load("auto", tmp_path / "weights.ckpt", resolution=SIDE, notify=told.append)
    assert relative(run(model, pixels()), answers(b0, pixels())) < 1e-4
    assert any("do not show arithmetic on the pixels" in text for text in told)


def test_an_export_without_layers_is_refused_with_the_way(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load("auto", tmp_path)
    assert "pip install tf2onnx" in str(caught.value)
    assert f"tf2onnx.convert --saved-model {tmp_path}" in str(caught.value)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_damaged_metadata_are_refused(folder: Path, tmp_path: Path, kept: float) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    metadata = (folder / "keras_metadata.pb").read_bytes()
    (tmp_path / "keras_metadata.pb").write_bytes(metadata[: int(len(metadata) * kept)])
    with pytest.raises(CheckpointError, match="cannot read"):
        load("auto", tmp_path)


def test_missing_variables_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("saved_model.pb", "keras_metadata.pb"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"No such file.*whole SavedModel"):
        load("auto", tmp_path)
