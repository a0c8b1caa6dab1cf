"""Files of another checkpoint are never replaced unasked; cards are read without a runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import edge_effnet
from edge_effnet.card import Source
from edge_effnet.converters.provenance import UNKNOWN, source_of
from edge_effnet.errors import UsageError
from edge_effnet.model import Model
from support import tflite_models as small
from support.command import call, contents, done, exported, refused

for module in ("openvino", "onnxruntime", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

CATS = Source("timm", 'cats & "dogs" ü.pth', "c" * 64)
BIRDS = Source("timm", "runs/birds v2.pth", "b" * 64)
FLOAT = {"precisions": ["fp32"], "progress": False}


def model_of(source: Source | None) -> Model:
    made = small.model_of(small.LITE)
    return replace(made, info=replace(made.info, source=source))


def test_the_source_is_read_from_every_format(tmp_path: Path) -> None:
    formats = ["tflite", "onnx", "openvino", "ncnn"]
    for folder, source in (("cats", CATS), ("none", None)):
        paths = edge_effnet.export(
            model_of(source), formats=formats, out=tmp_path / folder, **FLOAT
        )
        assert [source_of(path) for path in paths] == [source] * 4
    for path in sorted(exported().iterdir()):
        if path.suffix != ".bin":
            assert source_of(path) == Source("random", "random", "")


def test_files_without_a_card_have_no_known_source(tmp_path: Path) -> None:
    for content in (b"", b"x", b'"source":{"file":"a"}', b'"source":12, &quot;source&quot;:{'):
        path = tmp_path / "a.onnx"
        path.write_bytes(content)
        assert source_of(path) == UNKNOWN


def test_another_checkpoint_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    edge_effnet.export(model_of(CATS), out=tmp_path, **FLOAT)
    before = {name: (tmp_path / name).read_bytes() for name in contents(tmp_path)}
    with pytest.raises(UsageError) as refusal:
        edge_effnet.export(model_of(BIRDS), out=tmp_path, **FLOAT)
    assert f"tiny-lite-fp32.tflite is there already, made from {CATS.file}" in str(refusal.value)
    assert "not from runs/birds v2.pth" in str(refusal.value)
    assert "name='birds-v2'" in refusal.value.hint
    assert before == {name: (tmp_path / name).read_bytes() for name in contents(tmp_path)}


def test_the_same_checkpoint_another_name_and_overwriting(tmp_path: Path) -> None:
    for _ in range(2):
        edge_effnet.export(model_of(CATS), out=tmp_path, **FLOAT)
    moved = replace(CATS, file="elsewhere.pth")  # the same bytes under another name
    edge_effnet.export(model_of(moved), out=tmp_path, **FLOAT)
    paths = edge_effnet.export(model_of(BIRDS), out=tmp_path, name="birds-1.2", **FLOAT)
    assert [path.name for path in paths] == [
        f"birds-1.2-fp32{suffix}" for suffix in (".tflite", ".onnx", ".xml")
    ]
    assert (tmp_path / "birds-1.2-fp32.bin").is_file()
    assert edge_effnet.open(paths[2]).card.variant == "tiny-lite"
    (path,) = edge_effnet.export(
        model_of(BIRDS), out=tmp_path, formats="onnx", overwrite=True, **FLOAT
    )
    assert source_of(path) == BIRDS


@pytest.mark.parametrize("source", [None, Source("random", "random", "")])
def test_networks_without_a_checkpoint(source: Source | None, tmp_path: Path) -> None:
    for _ in range(2):
        edge_effnet.export(model_of(source), out=tmp_path, formats="onnx", **FLOAT)
    with pytest.raises(UsageError, match=r"made from .*, not from cats"):
        edge_effnet.export(model_of(CATS), out=tmp_path, formats="onnx", **FLOAT)
    (tmp_path / "tiny-lite-fp32.onnx").write_bytes(b"mine")
    with pytest.raises(UsageError, match="made from another tool, not from this network"):
        edge_effnet.export(model_of(source), out=tmp_path, formats="onnx", **FLOAT)


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "..", "a\\b", "a\n", "x" * 101])
def test_names_that_cannot_begin_a_file_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot begin the names of files"):
        edge_effnet.export(model_of(CATS), out=tmp_path / "out", name=name, **FLOAT)
    assert contents(tmp_path) == []


def test_the_command(tmp_path: Path) -> None:
    out = ("--out", tmp_path, "--formats", "tflite", "--precisions", "fp32")
    arguments = ("export", "lite0", "--weights", "random", "--resolution", "32", *out)
    done(call(*arguments))
    done(call(*arguments))  # the same weights
    edge_effnet.export(
        replace(model_of(CATS), variant=edge_effnet.get_variant("lite0")),
        out=tmp_path, formats="tflite", name="efficientnet-lite0", overwrite=True, **FLOAT,
    )  # fmt: skip
    message = refused(call(*arguments))
    assert "replace them with --overwrite" in message
    assert "--name" in message
    text = done(call(*arguments, "--name", "random", "--json", "-"))
    (entry,) = json.loads(text)["files"]
    assert entry["file"] == str(tmp_path / "random-fp32.tflite")
    done(call(*arguments, "--overwrite"))
