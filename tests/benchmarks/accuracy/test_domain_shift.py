"""``evaluate`` says that photos look different from the calibration photos of a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet.benchmarks.accuracy.evaluate import Bench, conclude, evaluate, together
from edge_effnet.benchmarks.accuracy.predictions import PredictionShard
from support.command import run as run_command

pytest.importorskip("onnxruntime")

from edge_effnet.converters.foreign.export import export
from support.foreign_network import SAID, network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibration photos, others like them, dark ones, and a float and an int8 file."""
    root = tmp_path_factory.mktemp("shift")
    rng = np.random.default_rng(0)
    for name, count, divisor in (("calibration", 30, 1), ("alike", 35, 1), ("dark", 35, 5)):
        (root / name).mkdir()
        for index in range(count):
            coarse = rng.integers(0, 256, (6, 8, 3), np.uint8) // divisor
            Image.fromarray(coarse).resize((80, 60)).save(root / name / f"{index}.png")
    (root / "net.onnx").write_bytes(network().SerializeToString())
    export(
        root / "net.onnx", SAID, formats=["onnx"], precisions=["fp32", "int8"], out=root / "out",
        calibration=root / "calibration", quantizer="onnxruntime", notify=lambda text: None,
    )  # fmt: skip
    return root


def test_photos_alike_are_not_mentioned(folder: Path) -> None:
    files = sorted((folder / "out").iterdir())
    notes = evaluate(files, folder / "alike", threads=1).photo_set.notes
    assert not [note for note in notes if "look like" in note]


def test_the_command_says_it(folder: Path) -> None:
    files = sorted((folder / "out").iterdir())
    done = run_command("evaluate", *files, "--images", folder / "dark", "--json", "-")
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["photos"]["notes"]
    (sentence,) = (note for note in notes if "look like" in note)
    assert "the 30 calibration photos of net-int8-onnxruntime.onnx" in sentence
    assert "do not look like" in done.stderr


def test_shards_through_json_say_the_same(folder: Path) -> None:
    files = sorted((folder / "out").iterdir())
    bench = Bench(files, folder / "dark", threads=1)
    shards = [
        PredictionShard.from_json(json.loads(json.dumps(shard.as_json())), bench.classes)
        for shard in (bench.run(0, 20), bench.run(20, 35))
    ]
    whole = evaluate(files, folder / "dark", threads=1)
    parts = conclude(shards, bench.photos)
    assert parts.photo_set.notes == whole.photo_set.notes
    # Evaluations of single files are still the same photos.
    float_file = evaluate(files[:1], folder / "dark", reference=files[0], threads=1)
    both = together([float_file, whole])
    assert both is not None
    assert both.photo_set.notes == whole.photo_set.notes
