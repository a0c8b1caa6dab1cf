"""open(path): the file alone suffices; one without a card needs a description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_effnet import open as open_file
from edge_effnet import subprocesses
from edge_effnet.errors import ModelFileError, UsageError
from edge_effnet.preprocess import Preprocess
from support import command
from support.command import SIDE, SUFFIXES, copy_of, file, without_card

pytest.importorskip("openvino", reason="the files are opened by all three runtimes")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

DESCRIBED = Preprocess(SIDE, 0.875)
PRECISIONS = ("fp32", "int8")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_alone_suffices(precision: str, suffix: str, tmp_path: Path) -> None:
    path = copy_of(file(precision, suffix), tmp_path / f"renamed, mövéd {suffix}")
    classifier = open_file(path)
    assert classifier.card.precision == precision
    assert classifier.card.labels == tuple(f"class {n}" for n in range(10))
    assert len(classifier(command.photos() / "photo-0.jpg", top=3)) == 3


@pytest.mark.parametrize(
    ("precision", "suffix"),
    [("fp32", ".tflite"), ("int8", ".tflite"), ("fp32", ".xml"), ("int8", ".onnx")],
)
def test_a_file_without_a_card_runs_as_described(
    precision: str, suffix: str, tmp_path: Path
) -> None:
    path = without_card(file(precision, suffix), tmp_path / f"net{suffix}")
    photos = sorted(command.photos().iterdir())
    bare, whole = open_file(path, preprocess=DESCRIBED), open_file(file(precision, suffix))
    np.testing.assert_allclose(bare.logits(photos), whole.logits(photos), rtol=0, atol=1e-5)
    assert bare.card.variant == "unknown"
    assert bare.card.labels == whole.card.labels


def test_a_file_without_a_card_needs_a_description(tmp_path: Path) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match=r"carries no model card.*preprocess=Preprocess"):
        open_file(path)
    named = open_file(path, preprocess=DESCRIBED, labels=list("abcdefghij"))
    assert named(command.photos() / "photo-0.jpg", top=1)[0][0] in "abcdefghij"


def test_the_size_must_be_the_files_own() -> None:
    with pytest.raises(
        ModelFileError, match=r"takes 64 x 64 pixels but .* makes 32 x 32; .*preprocess="
    ):
        open_file(file("fp32", ".onnx"), preprocess=Preprocess(32, 1.0))


def test_labels_must_be_as_many_as_the_outputs() -> None:
    classifier = open_file(file("fp32", ".onnx"), labels=["a", "b"])
    with pytest.raises(ModelFileError, match=r"gives \[10\] values but names 2 labels"):
        classifier(command.photos() / "photo-0.jpg")


@pytest.mark.parametrize(
    ("content", "suffix"), [(a, b) for a in SUFFIXES for b in SUFFIXES if a != b]
)
def test_a_wrong_suffix(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(file("fp32", content).read_bytes())
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"net\."):
        open_file(path)


@pytest.mark.parametrize("name", ["net.pth", "net", "net.bin", "net.tflite.gz", ".onnx"])
def test_other_suffixes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"is none of \.tflite, \.onnx, \.xml"):
        open_file(tmp_path / name)


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; give an exported model file"):
        open_file(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_file_and_a_folder(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file .*; check the path"):
        open_file(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(ModelFileError, match=r"cannot read .*Is a directory"):
        open_file(tmp_path / f"folder{suffix}")


def test_upper_case_suffixes(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"NET{suffix.upper()}"
        path.write_bytes(file("fp32", suffix).read_bytes())
    (tmp_path / "NET.bin").write_bytes(file("fp32", ".xml").with_suffix(".bin").read_bytes())
    for path in tmp_path.glob("NET.[!b]*"):
        assert open_file(path).card.precision == "fp32"


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_out_of_range(threads: int) -> None:
    with pytest.raises(UsageError, match="threads cannot compute"):
        open_file(file("fp32", ".onnx"), threads=threads)


def test_the_users_own_modules_are_left_alone(tmp_path: Path) -> None:
    """A child process must not import, and so run, what lies in the user's folder."""
    without_card(file("fp32", ".tflite"), tmp_path / "net.tflite")
    for name in ("numpy", "json", "edge_effnet", "ai_edge_litert", "runpy"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w'); raise SystemExit(9)")
    photo = command.photos() / "photo-0.jpg"
    result = command.run("classify", "net.tflite", photo, *command.DESCRIBED, cwd=tmp_path)
    assert "class" in command.done(result)
    assert command.done(command.run("benchmark", "net.tflite", "--runs", "1", cwd=tmp_path))
    assert not (tmp_path / "ran").exists()


def test_the_child_imports_what_we_would() -> None:
    code = subprocesses.command("edge_effnet.version")
    assert code[:2] == [sys.executable, "-c"]
    shown = "import sys; print(sys.path)"
    path = subprocess.run(
        [*code[:2], code[2].split("; import runpy")[0] + "; " + shown],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert path.strip() == str(sys.path)
