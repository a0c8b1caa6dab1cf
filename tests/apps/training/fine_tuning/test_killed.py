"""A process that is killed while it writes its state loses the epoch, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.apps.training.fine_tuning.fine_tune import fine_tune
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from support import PATH
from support.small_training import network, photos

#: Trains in the folder of its argument until it is killed in the middle of the second state.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from edge_effnet.apps.training.fine_tuning.fine_tune import fine_tune
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from support.small_training import network, photos

folder, save = Path(sys.argv[1]), torch.save

def interrupted(state, path):
    save(state, path)
    if len(state["history"]) == 2:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = interrupted
settings = FineTuneSettings(epochs=3, threads=1)
fine_tune(network(), photos(folder / "photos"), settings, state=folder / "state.pt")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_killed_training_goes_on_from_the_last_state(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATH), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    state = tmp_path / "state.pt"
    leftover = [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    assert len(leftover) == 1
    data, settings = photos(tmp_path / "photos"), FineTuneSettings(epochs=3, threads=1)
    epochs: list[int] = []
    resumed = fine_tune(
        network(), data, settings, state=state, on_epoch=lambda row: epochs.append(row.epoch)
    )
    assert epochs == [1, 2, 3]
    assert not leftover[0].exists()
    expected = fine_tune(network(), data, settings, state=tmp_path / "other.pt")
    for name, weight in expected.weights.items():
        assert np.array_equal(weight, resumed.weights[name]), name
