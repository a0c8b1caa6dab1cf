"""A folder with one checkpoint is that checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_effnet.checkpoints.readers.folders import checkpoint_in
from edge_effnet.errors import CheckpointError


def furnished(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "config.json", "README.md"], "model.safetensors"),
        (["pytorch_model.bin", "config.json"], "pytorch_model.bin"),
        (["best.pth.tar", "log.txt", ".hidden.pth"], "best.pth.tar"),
        (["Model.KERAS"], "Model.KERAS"),
        (["net.pth", "net-int8.tflite", "net.onnx", "net.xml", "net.bin"], "net.pth"),
        (
            ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state_0.pth",
             "training_args.bin", "random_states_0.pkl", "scaler.pt", "trainer_state.json"],
            "model.safetensors",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_one_checkpoint(names: list[str], expected: str, tmp_path: Path) -> None:
    assert checkpoint_in(furnished(tmp_path, names)) == (tmp_path / expected, None)


def test_one_network_in_several_formats(tmp_path: Path) -> None:
    path, note = checkpoint_in(furnished(tmp_path, ["pytorch_model.bin", "model.safetensors"]))
    assert path.name == "model.safetensors"
    assert "pytorch_model.bin left out" in str(note)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.pth", "b.pth"], "a.pth, b.pth"),
        (["model.safetensors", "best.pth"], "best.pth, model.safetensors"),
        ([f"{number}.ckpt" for number in range(9)], "5.ckpt and 3 more"),
        ([f"model-0000{n}-of-00002.safetensors" for n in (1, 2)], "cut into 2 files"),
        (["config.json"], "no checkpoint lies in it"),
        (["net.onnx"], "(models: net.onnx)"),
    ],
    ids=str,
)
def test_other_folders_are_refused(names: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        checkpoint_in(furnished(tmp_path, names))
    assert words in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
