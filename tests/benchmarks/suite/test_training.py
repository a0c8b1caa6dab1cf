"""The training comparison: equal photos for all tools, and peers that do not run say why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
from edge_effnet.apps.training.dataset.read import read_training_data
from edge_effnet.benchmarks.suite.training import (
    TrainingComparison,
    TrainingRecord,
    sheet,
    write_splits,
)
from edge_effnet.errors import UsageError
from support import small_training
from support.command import call, refused


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_training.photos(tmp_path_factory.mktemp("photos"), 12, 8).folder


def environment(out: Path, program: str) -> None:
    """A peer's environment whose Python is a shell script."""
    python = out / "ultralytics-environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)


def test_all_tools_read_the_same_photos(photos: Path, tmp_path: Path) -> None:
    data = read_training_data(photos)
    folder = write_splits(data, tmp_path / "photos")
    for split in ("train", "val", "test"):
        links = sorted(folder.glob(f"{split}/*/*"))
        targets = sorted(link.resolve() for link in links)
        assert targets == sorted(sample.path.resolve() for sample in data.of(split))  # type: ignore[arg-type]
        assert {link.parent.name for link in links} == set(data.class_names)
    again = read_training_data(folder)
    assert again.counts("train") == data.counts("train")


@pytest.mark.slow
def test_a_peer_is_measured_and_one_that_fails_says_why(photos: Path, tmp_path: Path) -> None:
    """Ours really trains; the peer's environment is a stand-in that checks what it is given."""
    result = json.dumps({"top1": 0.5, "release": "9.9"})
    environment(tmp_path, f"[ -d \"$YOLO_CONFIG_DIR/photos/test\" ] || exit 3\necho '{result}'")
    notes: list[str] = []
    comparison = TrainingComparison(photos, tmp_path, epochs=1, resolution=64)
    ours, peer, timm = comparison.run(notes.append)
    assert ours.top1 is not None
    assert ours.top1 > 1 / 3
    assert ours.minutes > 0
    assert (peer.tool, peer.top1, peer.start) == ("ultralytics 9.9", 0.5, "from scratch")
    assert peer.photos == ours.photos > 0
    assert timm.top1 is None
    assert "wheel has no train.py" in timm.reason
    assert len(notes) == 3
    text = sheet([ours, peer, timm])
    assert "  edge-effnet train photos/ --variant lite0 --out run/\n" in text
    python = tmp_path / "ultralytics-environment" / "bin" / "python"
    python.write_text("#!/bin/sh\necho no space >&2\nexit 1\n")
    record = comparison._ultralytics(tmp_path / "photos", 6)
    assert record.top1 is None
    assert record.reason == "not run: python failed: no space"


def test_standard_errors_are_binomial() -> None:
    record = TrainingRecord("a", "b", "c", top1=0.8, photos=100)
    assert record.standard_error == pytest.approx(0.04)
    assert TrainingRecord("a", "b", "c").standard_error == 0


def test_our_training_finds_weights_of_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def refuse(self: TrainingComparison, command: list[str], folder: Path) -> str:
        commands.append(command)
        raise UsageError("enough")

    monkeypatch.setattr(TrainingComparison, "_call", refuse)
    monkeypatch.chdir(tmp_path)
    Path("mine.pth").touch()
    comparison = TrainingComparison(Path("photos"), Path("out"), weights="mine.pth")
    with pytest.raises(UsageError, match="enough"):
        comparison._ours(Path("out/photos"), 1)
    assert str(tmp_path / "mine.pth") in commands[0]


def test_missing_files_are_refused_before_anything_runs(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*no\.pt"):
        TrainingComparison(photos, tmp_path / "out", peer_weights=Path("no.pt")).run(print)
    assert not (tmp_path / "out").exists()
    line = ["bench", "training", str(photos), "--timm-script", "nowhere.py"]
    done = call(*line, "--out", str(tmp_path / "out"))
    assert f"there is no file {Path('nowhere.py').absolute()}" in " ".join(refused(done).split())
