"""Two processes under torchrun train as one does, and the first one writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.apps.training.fine_tuning.recipes import RECIPES
from edge_effnet.apps.training.run import Run
from support import PATH
from support.distributed_training import train
from support.flowers import few_flowers
from support.small_training import network, photos

SUPPORT = Path(__file__).parents[3] / "support"


def under_torchrun(script: str, *arguments: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATH), "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [sys.executable, *launcher, str(SUPPORT / script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-2000:]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    under_torchrun("distributed_training.py", tmp_path / "photos", tmp_path)
    assert (tmp_path / "state-0.pt").exists()
    assert not (tmp_path / "state-1.pt").exists()

    monkeypatch.setitem(RECIPES, "default", RECIPES["default"])  # restored after `train`
    single = train(photos(tmp_path / "one"), tmp_path / "state.pt")
    start = network().weights
    first, second = (np.load(tmp_path / f"weights-{rank}.npz") for rank in (0, 1))
    moved = difference = 0.0
    for name, weight in single.weights.items():
        assert np.array_equal(first[name], second[name]), name
        moved += float(np.square(weight - start[name]).sum())
        difference += float(np.square(weight - first[name]).sum())
    assert moved > 0
    assert difference < 0.1**2 * moved  # sums in another order, which AdamW amplifies


@pytest.mark.slow
def test_a_whole_training_under_torchrun(tmp_path: Path) -> None:
    """Both processes fine-tune twice: without, then with the validation photos."""
    folder = few_flowers(tmp_path / "photos", ("daisy", "roses"), 10)
    under_torchrun("distributed_run.py", folder, tmp_path / "run")
    finished = Run.open(tmp_path / "run")
    assert finished.state.stage == "done"
    assert finished.state.improved["fine_tuning"]
    assert [row.stage for row in finished.epochs()].count("fine_tuning") == 1
