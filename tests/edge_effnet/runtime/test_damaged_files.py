"""open(path) of damaged and altered files: each is refused before it can crash the process."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_effnet import open as open_file
from edge_effnet.errors import EdgeEffNetError, MissingExtra, ModelFileError
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime import opening
from support import command
from support.command import SIDE, SUFFIXES, copy_of, file, without_card, without_digest

pytest.importorskip("openvino", reason="the files are opened by all three runtimes")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

DESCRIBED = Preprocess(SIDE, 0.875)
Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "first half": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "first 100 bytes": lambda data: data[:100],
    "first byte": lambda data: data[:1],
    "one byte more": lambda data: data + b"\0",
    "one bit": lambda data: flipped(data, len(data) // 2),
    "one bit near the start": lambda data: flipped(data, 30),
    "one bit of the digest": lambda data: flipped(data, data.index(b"sha256:") + 12),
    "zeros in the middle": lambda data: data[:2000] + bytes(2000) + data[4000:],
    "twice": lambda data: data * 2,
    "garbage": lambda data: bytes(range(256)) * 40,
    "zeros": lambda data: bytes(5000),
    "text": lambda data: b"404: not found\n",
}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def damaged(suffix: str, damage: Damage, folder: Path) -> Path:
    path = copy_of(file("int8", suffix), folder / f"net{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    return path


# Files with a card


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_before_a_runtime_sees_it(suffix: str, damage: str, tmp_path: Path) -> None:
    path = damaged(suffix, DAMAGES[damage], tmp_path)
    with pytest.raises(ModelFileError, match=r"copy|export") as caught:
        open_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is empty; export it again"):
        open_file(damaged(suffix, lambda data: b"", tmp_path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_card_without_its_digest_is_refused(suffix: str, tmp_path: Path) -> None:
    path = damaged(suffix, without_digest, tmp_path)
    with pytest.raises(ModelFileError, match="carries a model card without its digest"):
        open_file(path)
    with pytest.raises(ModelFileError, match="carries a model card without its digest"):
        open_file(path, preprocess=DESCRIBED)  # saying how to prepare photos does not help


def test_the_weights_are_covered_by_the_digest(tmp_path: Path) -> None:
    path = copy_of(file("int8", ".xml"), tmp_path / "net.xml")
    weights = path.with_suffix(".bin")
    whole = weights.read_bytes()
    other = file("fp32", ".xml").with_suffix(".bin").read_bytes()
    for content in (b"", whole[:-1], flipped(whole, 1000), other):
        weights.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"net\.xml was altered or damaged"):
            open_file(path)
    weights.unlink()
    with pytest.raises(ModelFileError, match=r"net\.xml is one of two files and .*net\.bin is mis"):
        open_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_flipped_bit_of_any_byte(suffix: str, tmp_path: Path) -> None:
    whole = file("int8", suffix).read_bytes()
    path = copy_of(file("int8", suffix), tmp_path / f"net{suffix}")
    dice = random.Random(0)
    marker = whole.index(b"edge-effnet:sha256:")
    elsewhere = [n for n in range(len(whole)) if not marker <= n < marker + 19]
    for place in dice.sample(elsewhere, 40):  # without its marker: the test above
        path.write_bytes(flipped(whole, place))
        with pytest.raises(ModelFileError, match="was altered or damaged"):
            open_file(path)


# Files without a card are tried in a child process


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_damage_to_a_file_without_a_card_ends_a_child_at_most(
    suffix: str, share: float, tmp_path: Path
) -> None:
    path = without_card(file("int8", suffix), tmp_path / f"net{suffix}")
    data = bytearray(path.read_bytes())
    start = int(share * len(data))
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    message = ""
    try:
        opened = open_file(path, preprocess=DESCRIBED)
        shape = opened.logits([np.zeros((SIDE, SIDE, 3), np.uint8)]).shape
    except EdgeEffNetError as error:
        message = str(error)
    if message:
        assert str(path) in message
        assert "\n" not in message
    else:  # damage to weights or names alone leaves a network that runs
        assert shape == (1, 10)


def test_a_child_that_crashes_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    crash = [sys.executable, "-c", "import os; os.abort()"]
    monkeypatch.setattr(opening.known_files, "is_known", lambda digest: False)
    monkeypatch.setattr(opening.limits.subprocesses, "command", lambda *arguments, **limits: crash)
    with pytest.raises(ModelFileError, match=r"net\.onnx crashes its runtime \(exit -6\)"):
        open_file(path, preprocess=DESCRIBED)


def test_a_child_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(opening.known_files, "is_known", lambda digest: False)
    monkeypatch.setattr(opening.limits.subprocesses, "command", lambda *arguments, **limits: hang)
    monkeypatch.setattr(opening.limits, "seconds_for", lambda size: 0.5)
    with pytest.raises(ModelFileError, match="not read within"):
        open_file(path, preprocess=DESCRIBED)


def test_what_the_child_misses_is_a_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = without_card(file("fp32", ".onnx"), tmp_path / "net.onnx")
    monkeypatch.setattr(opening.known_files, "_trusted", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(command._blocker()))
    monkeypatch.setenv("BLOCKED", "onnxruntime")
    with pytest.raises(MissingExtra, match=r"pip install .*\[onnx\]'"):
        open_file(path, preprocess=DESCRIBED)
