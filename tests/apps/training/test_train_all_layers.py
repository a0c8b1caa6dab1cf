"""Training with fine-tuning: the stages in order, refusals before a minute is spent, a teacher."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import edge_effnet
from edge_effnet.apps.training.run import Run, is_run
from edge_effnet.errors import UsageError
from support import PATH
from support.flowers import few_flowers
from support.shared import shared

pytestmark = pytest.mark.skipif(
    find_spec("timm") is None, reason="fine-tuning needs the extra 'train'"
)
CLASSES = ("daisy", "roses", "sunflowers")
SIDE = 64


@pytest.fixture(scope="module")
def photos() -> Path:
    return shared("few-flowers", lambda folder: few_flowers(folder, CLASSES, 12))


def options(**changes: Any) -> dict[str, Any]:
    quiet = {"progress": False, "notify": lambda text: None}
    return {"resolution": SIDE, "threads": 1, "int8_aware": False, "epochs": 2, **quiet, **changes}


@pytest.mark.slow
def test_all_stages_and_more_epochs_with_a_teacher(photos: Path, tmp_path: Path) -> None:
    head = edge_effnet.train(photos, out=tmp_path / "head", **options(recipe="head", epochs=None))
    out = tmp_path / "run"
    run = edge_effnet.train(photos, out=out, **options(teacher=head.folder))
    assert run.state.stage == "done"
    epochs = [row.epoch for row in run.epochs() if row.stage == "fine_tuning"]
    assert epochs == [1, 2]
    improved = run.state.improved["fine_tuning"]
    assert run.fine_tuned_file.exists() is improved
    assert (run.metrics().of("fine_tuning", "test") is not None) is improved
    chosen = run.fine_tuned_file if improved else run.folder / "head.safetensors"
    assert run.model_file.read_bytes() == chosen.read_bytes() or not improved
    longer = edge_effnet.train(out=out, more=1, progress=False, notify=lambda text: None)
    epochs = [row.epoch for row in longer.epochs() if row.stage == "fine_tuning"]
    assert epochs == [1, 2, 3]


@pytest.mark.slow
def test_torchrun_trains_one_run(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["train", str(photos), "--out", str(out), "--resolution", str(SIDE)]
    arguments += ["--epochs", "2", "--threads", "1", "--no-int8-aware"]
    process = subprocess.run(
        [sys.executable, *launcher, "-m", "edge_effnet.cli", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATH), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    run = Run.open(out)
    assert run.state.stage == "done"
    assert [row.epoch for row in run.epochs() if row.stage == "fine_tuning"] == [1, 2]


def test_bad_choices_leave_no_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        edge_effnet.train(photos, out=out, **options(device="gpu"))
    assert not out.exists()


def test_a_teacher_of_other_classes_is_refused_before_training(
    photos: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "run", edge_effnet.load("lite0", resolution=SIDE)
    teacher = edge_effnet.save(model, tmp_path / "teacher.safetensors")
    with pytest.raises(UsageError, match=r"tench.* and 99\d more, and lacks"):
        edge_effnet.train(photos, out=out, **options(teacher=teacher))
    assert not is_run(out)  # so that the same folder can be used again
