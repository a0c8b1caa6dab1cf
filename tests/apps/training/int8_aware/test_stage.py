"""The int8-aware stage of a run: its network is exported; without a gain the run goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'train'")
pytest.importorskip("sklearn", reason="the extra 'export'")

import edge_effnet
from edge_effnet.apps.training.int8_aware import refine as module
from edge_effnet.apps.training.int8_aware.refinement import Fidelity, Refinement
from edge_effnet.apps.training.run import Run
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from support.command import done, run
from support.file_integers import read_onnx
from support.flowers import few_flowers
from support.shared import shared

pytestmark = pytest.mark.slow


@pytest.fixture
def head_run(tmp_path: Path) -> Run:
    """A run whose next stage is the int8-aware one."""

    photos = shared("two-flowers", lambda folder: few_flowers(folder, ("daisy", "roses"), 8))

    def make(folder: Path) -> None:
        edge_effnet.train(
            photos, out=folder / "run", recipe="head", resolution=64, threads=1, progress=False,
            notify=lambda text: None,
        )  # fmt: skip

    shutil.copytree(shared("int8-aware-run", make) / "run", tmp_path / "run")
    return Run.open(tmp_path / "run").with_state(stage="int8_aware")


def resumed(head_run: Run) -> Run:
    return edge_effnet.train(
        out=head_run.folder, resume=True, threads=1, progress=False, notify=lambda text: None
    )


def test_the_trained_network_is_saved_and_exported(
    head_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fidelity = {"tflite": Fidelity(np.zeros(2, np.float32), 30.0, 1.0, 1.0)}

    def one_step_more(quantized: QuantizedModel, *_: object, **__: object) -> Refinement:
        layers = {
            name: replace(layer, bias=layer.bias + 1)
            for name, layer in quantized.plan.layers.items()
        }
        trained = replace(quantized, plan=replace(quantized.plan, layers=layers))
        return Refinement(trained, fidelity, fidelity, 2)

    monkeypatch.setattr(module, "refine", one_step_more)
    finished = resumed(head_run)
    assert finished.state.improved["int8_aware"]
    assert finished.state.notes["int8_aware"].startswith("epoch 2 was kept")
    plan = QuantizedModel.load(finished.quantized_file).plan
    assert isinstance(plan, QuantPlan)
    done(run("export", finished.folder, "--formats", "onnx", "--out", tmp_path / "out"))
    file = read_onnx(tmp_path / "out" / "efficientnet-lite0-int8.onnx")
    for name, layer in plan.layers.items():
        assert np.array_equal(file.layers[name].bias, layer.bias)


def test_without_a_gain_the_export_calibrates(head_run: Run, tmp_path: Path) -> None:
    finished = resumed(head_run)
    assert finished.state.stage == "done"
    kept = finished.state.improved["int8_aware"]
    assert finished.quantized_file.is_file() == kept
    rows = [row for row in finished.epochs() if row.stage == "int8_aware"]
    assert [row.epoch for row in rows] == [1, 2, 3]
    done(run("export", finished.folder, "--formats", "onnx", "--out", tmp_path / "out"))
    assert (tmp_path / "out" / "efficientnet-lite0-int8.onnx").is_file()
