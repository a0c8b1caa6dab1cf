"""RKNN files from our plan: Rockchip's simulator agrees with the float network."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_effnet.card import ModelCard
from edge_effnet.converters.formats import rknn
from support import simulated
from support.labelled_photos import LabelledPhotos


def test_simulated_accuracy(
    imagenet_dev: LabelledPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the toolkit no longer keeps the integers of our .onnx file."""
    network = simulated.lite0(rknn, imagenet_dev, tmp_path, monkeypatch)
    names = ["rk3566.rknn", "rk3576.rknn", "rk3588.rknn", "rknn.json"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        f"efficientnet-lite0-int8.{name}" for name in names
    ]
    assert network.file.read_bytes()[:4] == b"RKNN"
    card = ModelCard.from_json((tmp_path / f"{network.file.name[:-12]}.rknn.json").read_text())
    assert card.precision == "int8"
    assert network.agreement >= 0.95
