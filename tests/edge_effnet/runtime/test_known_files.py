"""Files that opened safely before are opened without a child process, others never."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge_effnet import digest, files, limits
from edge_effnet import open as open_file
from edge_effnet.errors import ModelFileError
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime import known_files, opening
from support.command import SIDE, copy_of, file, without_card

pytest.importorskip("onnxruntime")
DESCRIBED = Preprocess(SIDE, 0.875)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    file("fp32", ".onnx")  # exporting remembers what it writes
    monkeypatch.setattr(known_files, "_trusted", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened in a child process."""
    opened: list[str] = []
    run = limits.run

    def counted(
        module: str, arguments: Sequence[str], size: int, meanwhile: Callable[[], None]
    ) -> subprocess.CompletedProcess[bytes]:
        opened.append(arguments[0])
        return run(module, arguments, size, meanwhile)

    monkeypatch.setattr(opening.limits, "run", counted)
    return opened


@pytest.mark.parametrize("card", [True, False])
def test_the_first_opening_is_in_a_child(
    card: bool, tmp_path: Path, cache: Path, children: list[str]
) -> None:
    original = file("fp32", ".onnx")
    path = tmp_path / "net.onnx"
    copy_of(original, path) if card else without_card(original, path)
    for _ in range(2):
        open_file(path, preprocess=DESCRIBED)
        assert children == [str(path)]
    path.rename(tmp_path / "other.onnx")  # a file is known by its content
    open_file(tmp_path / "other.onnx", preprocess=DESCRIBED)
    assert children == [str(path)]
    (entry,) = (each for each in (cache / "edge-effnet").rglob("*") if each.is_file())
    data = (tmp_path / "other.onnx").read_bytes()
    assert entry.name == (digest.verify(data) or digest.of(data))


def test_what_failed_is_not_remembered(tmp_path: Path, cache: Path, children: list[str]) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not a network")
    for count in (1, 2):
        with pytest.raises(ModelFileError):
            open_file(path, preprocess=DESCRIBED)
        assert len(children) == count
    assert not (cache / "edge-effnet").exists()


def test_a_file_that_changes_meanwhile(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of(file("fp32", ".onnx"), tmp_path / "net.onnx")
    other = file("int8", ".onnx").read_bytes()
    read = opening.read_model_files

    def read_and_replace(asked: Path) -> tuple[bytes, bytes]:
        contents = read(asked)
        path.write_bytes(other)
        return contents

    monkeypatch.setattr(opening, "read_model_files", read_and_replace)
    with pytest.raises(ModelFileError, match="was changed while it was opened"):
        open_file(path)


def test_without_a_place_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[str]
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setattr(known_files, "_trusted", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    path = copy_of(file("fp32", ".onnx"), tmp_path / "net.onnx")
    known_files._trusted.clear()
    for _ in range(2):
        open_file(path)
        assert len(children) == 1  # this process remembers it


def test_no_child_can_be_started(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(opening.limits, "run", refuse)
    path = copy_of(file("fp32", ".onnx"), tmp_path / "net.onnx")
    with pytest.raises(ModelFileError, match=r"no child process can be started \(Exec format"):
        open_file(path)


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(files.os.path, "expanduser", lambda path: path)
    assert files.user_cache() is None
    known_files.remember("0" * 64)
    assert known_files.is_known("0" * 64)
    known_files._trusted.clear()
    assert not known_files.is_known("0" * 64)


@pytest.mark.parametrize("name", ["", "../" + "0" * 61, "g" * 64, "0" * 65])
def test_no_other_names(name: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        known_files.is_known(name)
