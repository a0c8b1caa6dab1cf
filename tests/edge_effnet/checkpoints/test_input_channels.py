"""Networks of one grey channel, and of other numbers that are no photos'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import edge_effnet
from edge_effnet import forward
from edge_effnet.checkpoints.input_channels import LUMA
from edge_effnet.checkpoints.pytorch import timm
from edge_effnet.errors import CheckpointError
from edge_effnet.network import build
from edge_effnet.registry import get_variant

SIDE = 32
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def rgb() -> Tensors:
    """timm's Lite0 of three classes with seeded weights."""
    names = timm.names(build(get_variant("lite0"), classes=3))
    return {
        names[ours]: np.ascontiguousarray(values)
        for ours, values in edge_effnet.load("lite0", "random", classes=3).weights.items()
    }


def saved(tensors: Tensors, stem: np.ndarray, folder: Path) -> Path:
    path = folder / "efficientnet_lite0.safetensors"
    save_file({**tensors, "conv_stem.weight": np.ascontiguousarray(stem)}, path)
    return path


def loaded(path: Path, **options: Any) -> tuple[edge_effnet.Model, list[str]]:
    notes: list[str] = []
    model = edge_effnet.load(
        "auto", path, source="timm", resolution=SIDE, notify=notes.append, **options
    )
    return model, notes


def test_grey_filters_take_rgb(rgb: Tensors, tmp_path: Path) -> None:
    """On grey photos the outputs are those of the grey filters."""
    rng = np.random.default_rng(0)
    grey = rng.standard_normal((32, 1, 3, 3), np.float32)
    model, notes = loaded(saved(rgb, grey, tmp_path), mean=128, std=64)
    stem = model.weights["stem.conv.weight"]
    assert stem.shape == (32, 3, 3, 3)
    assert stem[:, 1] == pytest.approx(0.587 * grey[:, 0])
    assert any("colour photos are seen in grey" in note for note in notes)
    photo = np.repeat(rng.integers(0, 256, (1, SIDE, SIDE, 1), np.uint8), 3, axis=3)
    batch = model.info.preprocess.normalise(photo).transpose(0, 3, 1, 2).astype(np.float32)
    only_red = np.concatenate([grey, np.zeros((32, 2, 3, 3), np.float32)], axis=1)
    expected = forward.logits(model.graph, {**model.weights, "stem.conv.weight": only_red}, batch)
    actual = forward.logits(model.graph, model.weights, batch)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_shares_are_pillows() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    grey = np.asarray(Image.fromarray(colours).convert("L"), np.float64)
    assert np.abs(colours @ np.asarray(LUMA) - grey).max() < 0.51  # it rounds


def test_a_grey_normalisation_is_asked_for(rgb: Tensors, tmp_path: Path) -> None:
    path = saved(rgb, np.ones((32, 1, 3, 3), np.float32), tmp_path)
    with pytest.raises(CheckpointError, match="one grey channel, and its mean") as caught:
        loaded(path)
    assert "mean=0, std=255" in str(caught.value.hint)
    with pytest.raises(CheckpointError, match="one grey channel, and its mean"):
        loaded(path, mean=(1.0, 2.0, 3.0), std=255)
    assert loaded(path, mean=0, std=255)[0].info.preprocess.std == (255.0,) * 3


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_other_numbers_are_refused(rgb: Tensors, tmp_path: Path, channels: int) -> None:
    path = saved(rgb, np.ones((32, channels, 3, 3), np.float32), tmp_path)
    with pytest.raises(CheckpointError, match=f"takes {channels} input channels") as caught:
        loaded(path)
    assert "damaged" not in str(caught.value)


def test_changed_layers_are_not_called_damaged(rgb: Tensors, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"converts as \.onnx") as caught:
        loaded(saved(rgb, np.ones((32, 3, 5, 5), np.float32), tmp_path))
    assert "damaged" not in str(caught.value)


def test_a_backbone_alone_is_named(rgb: Tensors, tmp_path: Path) -> None:
    backbone = {name: v for name, v in rgb.items() if not name.startswith("classifier")}
    with pytest.raises(CheckpointError, match="a backbone alone") as caught:
        loaded(saved(backbone, rgb["conv_stem.weight"], tmp_path))
    assert "damaged" not in str(caught.value)
