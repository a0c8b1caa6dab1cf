"""Options that describe the input of a file without a card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

import edge_effnet
from edge_effnet.preprocess import Preprocess
from support.colour_models import model
from support.command import call, done


def test_crop_mode_and_interpolation(tmp_path: Path) -> None:
    path = model(tmp_path / "bare.onnx", card=False)
    photo = tmp_path / "wide.png"
    pixels = np.random.default_rng(0).integers(0, 256, (10, 40, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    given = ("--resolution", "8", "--mean", "127", "--std", "128")
    found = {}
    for mode, interpolation in (("center", "bicubic"), ("squash", "bilinear")):
        options = ("--crop-mode", mode, "--interpolation", interpolation)
        text = done(call("classify", path, photo, *given, *options, "--json", "-"))
        top = json.loads(text)[0]["top"]
        preprocess = Preprocess(8, 1.0, interpolation, (127.0,) * 3, (128.0,) * 3, mode)
        wanted = edge_effnet.open(path, preprocess=preprocess)(photo)
        assert [(each["label"], each["probability"]) for each in top] == wanted
        found[mode] = wanted
    assert found["center"] != found["squash"]
    text = done(call("classify", path, photo, *given, "--json", "-"))
    assert [each["probability"] for each in json.loads(text)[0]["top"]] == [
        share for _, share in found["center"]
    ]
    assert "give all three" in call("classify", path, photo, "--crop-mode", "squash").stderr
