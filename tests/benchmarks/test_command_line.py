"""The command line that repeats a measurement."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from edge_effnet.benchmarks.command_line import command_line
from edge_effnet.benchmarks.compare import evaluate
from edge_effnet.benchmarks.records import Results
from edge_effnet.preprocess import Preprocess
from support.colour_models import model, photos
from support.command import call, done


def test_options_and_quoting() -> None:
    made = command_line(
        "compare", ["my out/", Path("a.onnx")],
        images="p", labels=None, op_times=True, force=False, runs=5, threshold=0.25,
        preprocess=Preprocess(8, 0.5, "nearest", (1.0, 2.5, 3.0), (1.0,) * 3, "squash"),
    )  # fmt: skip
    assert shlex.split(made) == [
        *("edge-effnet", "compare", "my out/", "a.onnx", "--images", "p", "--op-times"),
        *("--runs", "5", "--threshold", "0.25", "--resolution", "8", "--mean", "1,2.5,3"),
        *("--std", "1,1,1", "--crop", "0.5", "--crop-mode", "squash"),
        *("--interpolation", "nearest"),
    ]


@pytest.mark.parametrize("card", [True, False])
def test_it_gives_the_same_records(tmp_path: Path, card: bool) -> None:
    photos(tmp_path / "my photos", 4)
    path = model(tmp_path / "net.onnx", card=card)
    preprocess = None if card else Preprocess(8, 1.0, "nearest", crop_mode="border")
    labels = tmp_path / "my labels.csv"
    labels.write_text("file,label\n" + "".join(f"photo{n:03}.png,0\n" for n in range(4)))
    found = evaluate(
        iter([path]), tmp_path / "my photos", labels,
        threads=1, preprocess=preprocess, progress=False,
    )  # fmt: skip
    _, *words = shlex.split(found.command)
    again = Results.from_json(done(call(*words, "--json", "-")))
    assert again.records == found.records
    assert again.command == found.command
