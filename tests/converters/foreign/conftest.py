"""Fixtures: a foreign .onnx file, and photos to calibrate on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def write(change: Callable[[Any], None] | None = None, **options: Any) -> Path:
        from support.foreign_network import network

        proto = network(**options)
        if change:
            change(proto)
        path = tmp_path / "resnet.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(12):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((80, 60)).save(folder / f"{index}.png")
    return folder
