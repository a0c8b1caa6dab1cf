"""``edge-effnet analyze``: the table, the JSON, the drawing; what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.sensitivity import analysis_page
from edge_effnet.calibration.sensitivity.analysis import Analysis, worst
from edge_effnet.calibration.sensitivity.measure import Sensitivity
from edge_effnet.card import CalibrationRecord
from edge_effnet.converters import analyze
from support.command import call, done, photos, refused

LITE0 = ("analyze", "lite0", "--weights", "random", "--resolution", "32")


def unit(
    name: str, noise: float, kind: str = "conv", work: int = 10, output_db: float = 30.0
) -> Sensitivity:
    return Sensitivity(name, kind, (name,), noise, output_db, work)


UNITS = (
    unit("stem.conv", 0.002),
    unit("stages.0.blocks.0.depthwise", 0.006, "depthwise"),
    unit("stages.0.blocks.0.add", 0.001, "add", 0),
    unit("classifier", 0.001, "dense", 20, 22.5),
)
FOUND = Analysis("tiny", "onnx", "default", 24, UNITS)


def test_ranks_and_shares() -> None:
    assert [one.name for one in FOUND.ranked][:2] == ["stages.0.blocks.0.depthwise", "stem.conv"]
    assert FOUND.sum_db == pytest.approx(20)
    assert FOUND.sqnr_db == 22.5  # the logits, with all layers quantized
    assert [FOUND.share(one) for one in UNITS] == pytest.approx([0.2, 0.6, 0.1, 0.1])
    assert [FOUND.work(one) for one in UNITS] == pytest.approx([0.25, 0.25, 0, 0.5])
    assert FOUND.headline().startswith("1 of 4 layers make 60% of the noise, with 25.0%")
    count, noise, work = FOUND.rest(1)
    assert (count, noise, work) == pytest.approx((3, 0.4, 0.75))
    assert worst(UNITS, 2) == "stages.0.blocks.0.depthwise (22.2 dB), stem.conv (27.0 dB)"


def test_the_table_has_a_line_for_the_rest() -> None:
    lines = FOUND.sheet(2).splitlines()
    assert "logits 22.5 dB, 20.0 dB by the sum" in lines[0]
    assert [line.split()[0] for line in lines[4:]] == [
        "stages.0.blocks.0.depthwise",
        "stem.conv",
        "2",
    ]
    assert "others" in lines[-1]
    assert "others" not in FOUND.sheet(4)


@pytest.mark.parametrize("noise", [0.0, 1e-9, 0.5])
def test_the_drawing_is_sound(noise: float) -> None:
    units = (*UNITS, unit("odd<&name", noise))
    found = Analysis("tiny", "tflite", "best", 24, units)
    drawn = ElementTree.fromstring(analysis_page.svg(found))  # noqa: S314 - our own
    spaced = "{http://www.w3.org/2000/svg}"
    bars = [bar for bar in drawn.iter(f"{spaced}rect") if bar.find(f"{spaced}title") is not None]
    assert len(bars) == len(units)
    assert all(float(bar.attrib["height"]) >= 0 for bar in bars)
    names = [text.text for text in drawn.iter(f"{spaced}text")]
    assert {"stem", "stage 0", "classifier", "odd<&name"} <= set(names)
    page = analysis_page.page(found)
    assert page.count("<tr>") == len(units) + 1
    assert "odd<&name" not in page
    assert page == analysis_page.page(found)


@pytest.mark.parametrize("count", [1, 3, 4, 23, 96, 125, 128])
def test_photos_that_are_measured_on_are_not_calibrated_on(count: int) -> None:
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    samples = Samples(pixels, CalibrationRecord(count, count, ""))
    used, held_out = analyze._hold_out(samples)
    assert 1 <= len(held_out) <= 24
    assert count < 4 or sorted([*used.pixels.flat, *held_out.flat]) == list(range(count))
    assert count < 4 or count / 5 - 1 <= len(held_out) or len(held_out) == 24


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    for module in ("onnxruntime", "onnx"):
        pytest.importorskip(module, reason="networks are run by the extra 'export'")
    out, target = tmp_path / "layers.html", tmp_path / "layers.json"
    given = ("--calibration", photos(), "--top", 3, "--out", out, "--json", target)
    text = done(call(*LITE0, *given))
    found = json.loads(target.read_text())
    layers = found["layers"]
    assert text.splitlines()[4].startswith(layers[0]["name"])
    assert len(text.splitlines()) == 4 + 3 + 1
    assert sum(layer["noise_share"] for layer in layers) == pytest.approx(1, abs=1e-4)
    noise = [layer["sqnr_db"] for layer in layers]
    assert noise == sorted(noise)
    assert {"name", "operator", "tensors", "multiply_adds_share"} <= set(layers[0])
    assert layers[0]["name"] in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "int8 needs photos to calibrate on"),
        (("--calibration", "none"), "none"),
        (("--calibration", ".", "--out", "layers.pdf"), "ends in .html or .svg"),
        (("--calibration", ".", "--format", "coreml"), "'coreml' is not one of"),
        (("--calibration", ".", "--recipe", "quick"), "'quick' is not one of"),
    ],
)
def test_what_makes_no_sense(options: tuple[str, ...], message: str) -> None:
    assert message in refused(call(*LITE0, *options))
