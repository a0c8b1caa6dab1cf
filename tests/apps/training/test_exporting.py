"""Export of a run: calibration photos and int8 integers come from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.apps.training.exporting import export_run
from edge_effnet.apps.training.run import Run
from edge_effnet.errors import ImageError
from edge_effnet.progress import ignore_progress
from support.command import call, done, refused
from support.flowers import few_flowers
from support.shared import shared

SIDE = 64


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run with photos of its own."""

    def fill(folder: Path) -> None:
        photos = few_flowers(folder / "photos", ("daisy", "roses"), 12)
        edge_effnet.train(
            photos, out=folder / "run", recipe="head", resolution=SIDE, threads=1, progress=False,
            notify=lambda text: None,
        )  # fmt: skip

    shutil.copytree(shared("run-to-export", fill), tmp_path / "copy")
    opened = Run.open(tmp_path / "copy" / "run")
    content = json.loads((opened.folder / "run.json").read_text())
    content["settings"]["photos"] = str(tmp_path / "copy" / "photos")
    (opened.folder / "run.json").write_text(json.dumps(content))
    return Run.open(opened.folder)


def export(run: Run, out: Path, notes: list[str], **options: object) -> list[Path]:
    arguments = {"precisions": ["fp32", "int8"], "calibration": None, "formats": ["onnx"],
                 "threads": 1, **options}  # fmt: skip
    return export_run(
        run, run.model(), out=out, progress=ignore_progress, notify=notes.append, **arguments
    )


@pytest.mark.slow
def test_files_are_calibrated_on_the_training_photos(run: Run, tmp_path: Path) -> None:
    _, int8 = export(run, tmp_path / "out", [])
    quantization = edge_effnet.open(int8).card.quantization
    assert quantization is not None
    assert quantization.calibration is not None
    trained = {sample.path.name for sample in run.data().of("train")}
    assert {file for file, _ in quantization.calibration.manifest} == trained
    assert run.results_file.is_file()  # the files were measured for the page


@pytest.mark.slow
def test_the_int8_aware_network_is_used_unless_an_option_contradicts(
    run: Run, tmp_path: Path
) -> None:
    quantized = edge_effnet.calibrate(
        run.model(), [s.path for s in run.data().of("train")], threads=1, progress=False,
        notify=lambda text: None,
    )  # fmt: skip
    layer = quantized.plan.layers["classifier"]
    layer.bias[:] = layer.bias[::-1].copy()  # integers that no calibration gives
    quantized.save(run.quantized_file)
    notes: list[str] = []
    options = {"precisions": ["int8"], "force": True}
    (refined,) = export(run, tmp_path / "refined", notes, **options)
    assert not [note for note in notes if "not used" in note]
    (plain,) = export(
        run, tmp_path / "plain", notes, calibration=str(tmp_path / "copy" / "photos"), **options
    )
    assert [note for note in notes if "is not used because of calibration=" in note]
    export(run, tmp_path / "contrib", notes, formats="onnx", contrib_ops=True, **options)
    assert [note for note in notes if "is not used because of contrib_ops=" in note]
    photos = [sample.path for sample in run.data().samples[:2]]
    logits = [edge_effnet.open(file, threads=1).logits(photos) for file in (refined, plain)]
    assert not np.allclose(logits[0], logits[1], atol=0.05)


def test_moved_photos_are_named(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "copy" / "photos")
    with pytest.raises(ImageError, match=r"are not in .*photos any more"):
        export(run, tmp_path / "out", [])
    message = refused(call("export", run.folder, "--out", tmp_path / "out"))
    assert message.endswith("give --calibration FOLDER")
    (file,) = export(run, tmp_path / "out", [], precisions=["fp32"])
    assert edge_effnet.open(file).card.labels == ("daisy", "roses")


def test_an_unfinished_run_is_refused(run: Run, tmp_path: Path) -> None:
    run.model_file.unlink()
    message = refused(call("export", run.folder, "--out", tmp_path / "out"))
    assert "has no network yet: continue it with 'edge-effnet train --out" in message
    assert "Traceback" not in message
    assert "daisy" in done(call("info", run.head_file))
