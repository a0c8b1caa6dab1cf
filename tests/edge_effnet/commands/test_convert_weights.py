"""`convert-weights` replaces no file of another checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.canonical import save
from support.command import call, refused


def checkpoint(path: Path, shift: float) -> Path:
    model = load("lite0", "random", classes=4)
    name = "classifier.bias"
    weights = {**model.weights, name: model.weights[name] + shift}
    return save(replace(model, weights=weights), path)


def test_another_checkpoints_file_is_kept(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one.safetensors", 0)
    two = checkpoint(tmp_path / "two.safetensors", 1)
    target = tmp_path / "out.safetensors"
    call("convert-weights", one, target)
    written = target.read_bytes()
    call("convert-weights", one, target)
    assert target.read_bytes() == written
    message = refused(call("convert-weights", two, target))
    assert "out.safetensors is there already, made from one.safetensors" in message
    assert "--overwrite" in message
    assert target.read_bytes() == written
    call("convert-weights", two, target, "--overwrite")
    assert target.read_bytes() != written


def test_the_input_and_foreign_files_are_kept(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one.safetensors", 0)
    original = one.read_bytes()
    assert "is there already" in refused(call("convert-weights", one, one))
    assert one.read_bytes() == original
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"something else")
    assert "made by another tool" in refused(call("convert-weights", one, foreign))
