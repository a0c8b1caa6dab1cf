"""A checkpoint's path in place of a variant: ``export my.pth``, ``info my.pth``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge_effnet
from edge_effnet.commands.checkpoint import is_path, variant_and_weights
from edge_effnet.errors import UsageError
from support.command import call, done, installed, refused


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lite0 at 32 pixels with three classes, which no option says."""
    model = edge_effnet.load("lite0", "random", resolution=32, classes=3, labels=["a", "b", "c"])
    return edge_effnet.save(model, tmp_path_factory.mktemp("checkpoint") / "mine.safetensors")


def test_what_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b0").mkdir()
    (tmp_path / "weights").write_bytes(b"")
    paths = ("my.pth", "weights", "runs/best", "model.ckpt", str(tmp_path))
    assert [is_path(text) for text in paths] == [True] * len(paths)
    names = ("b0", "lite0", "efficientnetv2-b0", "v2_s", "nonsense", "b0.5")
    assert [is_path(text) for text in names] == [False] * len(names)


def test_a_checkpoint_with_the_name_of_a_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lite0").mkdir()
    assert variant_and_weights("lite0", "imagenet") == ("lite0", "imagenet")
    Path("lite0", "run.json").write_text("{}")
    Path("b0").write_bytes(b"")
    for name in ("lite0", "b0"):
        with pytest.raises(UsageError, match=rf"give \./{name} for the checkpoint"):
            variant_and_weights(name, "imagenet")
        assert variant_and_weights(name, "my.pth") == (name, "my.pth")
        assert variant_and_weights(f"./{name}", "imagenet") == ("auto", f"./{name}")


def test_a_path_in_the_variants_place() -> None:
    assert variant_and_weights("my.pth", "imagenet") == ("auto", "my.pth")
    assert variant_and_weights("net.onnx", "imagenet") == ("auto", "net.onnx")
    assert variant_and_weights("auto", "my.pth") == ("auto", "my.pth")
    assert variant_and_weights("lite0", "my.pth") == ("lite0", "my.pth")
    with pytest.raises(UsageError, match=r"my\.pth and --weights other\.pth are two checkpoints"):
        variant_and_weights("my.pth", "other.pth")


def test_info_of_a_checkpoint(checkpoint: Path) -> None:
    text = done(call("info", checkpoint))
    assert text.startswith(f"{checkpoint}\n  variant          efficientnet-lite0\n")
    assert "  input            32 x 32 RGB\n" in text
    assert "  classes          3: a, b, c\n" in text
    told = json.loads(done(call("info", checkpoint, "--json", "-")))
    assert (told["variant"], told["labels"]) == ("efficientnet-lite0", ["a", "b", "c"])
    assert len(told["source"]["sha256"]) == 64
    assert told["params"] < 4.7e6
    assert "scale a variant, not a file" in refused(call("info", checkpoint, "--phi", 1))
    squashed = done(call("info", checkpoint, "--crop-mode", "squash", "--mean", "0"))
    assert "resized without the aspect ratio" in squashed
    assert "mean 0, std" in squashed


def test_export_and_analyze_take_a_checkpoint_alone(checkpoint: Path, tmp_path: Path) -> None:
    if not installed("onnx"):
        pytest.skip("exporting needs the extra 'export'")
    options = ("--formats", "onnx", "--precisions", "fp32", "--out", tmp_path, "--json", "-")
    (file,) = json.loads(done(call("export", checkpoint, *options)))["files"]
    assert file["file"] == str(tmp_path / "efficientnet-lite0-fp32.onnx")
    assert "two checkpoints" in refused(call("export", checkpoint, "--weights", "x.pth"))
    assert "there is no file my.pth" in refused(call("export", "my.pth"))
    assert "there is no file my.pth" in refused(call("analyze", "my.pth"))
