"""Bundles: what is inside, that it runs, and that its self-test can fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.apps.bundle import launcher, selftest, wheel
from edge_effnet.apps.bundle.boards import BOARDS, board_of
from edge_effnet.apps.bundle.bundle import bundle
from edge_effnet.errors import ModelFileError, UsageError
from support import ROOT, command
from support.command import file

pytest.importorskip("ai_edge_litert", reason="bundles are checked with real runtimes")
pytest.importorskip("onnxruntime", reason="bundles are checked with real runtimes")

INT8, FLOAT = file("int8", ".tflite"), file("fp32", ".tflite")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    out = tmp_path_factory.mktemp("bundle") / "pi"
    return bundle([INT8, FLOAT, file("int8", ".onnx")], "linux-aarch64", out)


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def launch(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(folder / "run.py"), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=400)


def test_what_is_inside(made: Path) -> None:
    assert command.contents(made) == sorted(
        [
            "README.md",
            "bundle.json",
            "models/tiny-lite-fp32.tflite",
            "models/tiny-lite-int8.onnx",
            "models/tiny-lite-int8.tflite",
            "requirements.txt",
            "run.py",
            wheel.NAME,
        ]
    )
    assert (made / "models" / INT8.name).read_bytes() == INT8.read_bytes()
    assert (made / "run.py").stat().st_mode & 0o111
    lines = (made / "requirements.txt").read_text().splitlines()
    assert lines.pop() == f"./{wheel.NAME}"
    assert all("==" in line for line in lines)
    assert {"ai-edge-litert", "onnxruntime", "numpy"} <= {line.split("==")[0] for line in lines}


def test_the_self_test_passes_here(made: Path) -> None:
    done = launch(made, "self-test")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("passed: ") for line in lines)
    assert all("logits identical" in line for line in lines)


@pytest.mark.parametrize("key", ["pixels", "logits"])
def test_the_self_test_fails_on_other_numbers(copied: Path, key: str) -> None:
    path = copied / "bundle.json"
    content = json.loads(path.read_text())
    content["models"][0][key] = "0" * 64
    path.write_text(json.dumps(content))
    done = launch(copied, "self-test")
    assert done.returncode == 1
    verdicts = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert verdicts == ["FAILED", "passed", "passed"]


def test_float_logits_may_differ_a_little(made: Path) -> None:
    content = json.loads((made / "bundle.json").read_text())
    exact, floating = (selftest.Expectation(**entry) for entry in content["models"][:2])
    assert exact.tolerance == 0
    classifier = edge_effnet.open(made / "models" / floating.file)

    def checked(shift: float) -> selftest.Outcome:
        best = [[(index, value + shift) for index, value in kept] for kept in floating.best]
        moved = {**floating.as_json(), "logits": "0" * 64, "best": best}
        return selftest.check(classifier, selftest.Expectation(**moved))

    assert checked(floating.tolerance * 0.9).passed
    outcome = checked(floating.tolerance * 1.1)
    assert not outcome.passed
    assert outcome.difference == pytest.approx(floating.tolerance * 1.1, rel=1e-3)


def test_another_file_is_refused(made: Path) -> None:
    content = json.loads((made / "bundle.json").read_text())
    expected = selftest.Expectation(**content["models"][0])
    with pytest.raises(ModelFileError, match="not the file that the self-test was written for"):
        selftest.check(edge_effnet.open(FLOAT), expected)


def test_the_pictures_are_what_they_were() -> None:
    """Expected logits stay valid only while the pictures do."""
    pictures = selftest.pictures()
    assert [picture.shape for picture in pictures] == [
        (480, 640, 3),
        (600, 450, 3),
        (224, 224, 3),
        (1080, 1920, 3),
    ]
    assert all(picture.dtype == np.uint8 and picture.std() > 50 for picture in pictures)
    assert [int(picture.astype(np.int64).sum()) for picture in pictures] == [
        117351040,
        102242860,
        18914528,
        775557469,
    ]


def test_photos_are_named(made: Path) -> None:
    photo = command.photos() / "photo-0.jpg"
    done = launch(made, "classify", photo, "--top", 2)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    expected = edge_effnet.open(INT8)(photo, top=2)
    best = [{"label": label, "probability": round(share, 4)} for label, share in expected]
    assert line["top"] == best
    assert (line["label"], line["probability"]) == (best[0]["label"], best[0]["probability"])
    assert line["file"] == str(photo)
    assert line["ms"] > 0
    assert abs(datetime.fromisoformat(line["time"]).timestamp() - time.time()) < 600


def test_photos_are_answered_from_a_least_confidence_on(made: Path) -> None:
    photo = command.photos() / "photo-0.jpg"
    (best,) = edge_effnet.open(INT8)(photo, top=1)
    for least, answer in ((best[1] - 0.01, best[0]), (best[1] + 0.01, None)):
        done = launch(made, "classify", photo, "--min-confidence", least)
        found = json.loads(done.stdout)["answer"]
        assert (found and found["label"]) == answer
    done = launch(made, "classify", photo, "--threshold", 0)
    assert done.returncode == 2
    assert "a threshold of 0 is no probability" in done.stderr


def test_a_broken_photo_is_left_out(made: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    done = launch(made, "classify", tmp_path / "broken.jpg", command.photos() / "photo-1.jpg")
    assert done.returncode == 2
    assert "left out: " in done.stderr
    assert "broken.jpg" in done.stderr
    assert json.loads(done.stdout)["file"].endswith("photo-1.jpg")


def test_watching_names_each_photo_once(made: Path, tmp_path: Path) -> None:
    folder = command.save_photos(tmp_path / "photos", 3)
    (folder / ".hidden.jpg").write_bytes(b"")
    done = launch(made, "watch", folder, "--once")
    assert done.returncode == 0, done.stderr
    named = [Path(json.loads(line)["file"]).name for line in done.stdout.splitlines()]
    assert named == ["photo-0.jpg", "photo-1.jpg", "photo-2.jpg"]


def test_watching_waits_for_a_photo_that_grows(tmp_path: Path) -> None:
    photos = launcher.watch(tmp_path / "new", once=False, every=0)
    (tmp_path / "new").mkdir()
    path = tmp_path / "new" / "a.jpg"
    path.write_bytes(b"one")
    assert next(photos) == path
    path.write_bytes(b"longer")
    assert next(photos) == path  # written anew: named again


def test_watching_goes_on_when_a_photo_disappears(tmp_path: Path) -> None:
    """Another program removes a photo after the folder was listed, before its size is read."""
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "there.jpg").write_bytes(b"one")
    assert list(launcher.watch(tmp_path, once=True, every=0)) == [tmp_path / "there.jpg"]


def test_the_same_archive_twice(tmp_path: Path) -> None:
    paths = [bundle([INT8], "linux-x86_64", tmp_path / f / "out.tar.gz") for f in ("a", "b")]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    with tarfile.open(paths[0]) as archive:
        names = archive.getnames()
        assert all(name.startswith("out/") for name in names)
        assert archive.getmember("out/run.py").mode == 0o755
        archive.extractall(tmp_path, filter="data")
    assert launch(tmp_path / "out", "self-test").returncode == 0


def test_the_wheel_holds_every_module() -> None:
    import io

    with zipfile.ZipFile(io.BytesIO(wheel.pack())) as packed:
        names = set(packed.namelist())
        assert packed.testzip() is None
    for folder in ("edge_effnet", "apps", "benchmarks", "calibration", "converters"):
        inner = "edge_effnet" if folder == "edge_effnet" else f"edge_effnet/{folder}"
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{inner}/{path.relative_to(ROOT / folder).as_posix()}" in names
    assert "edge_effnet/data/imagenet_labels.txt" in names
    assert not any("__pycache__" in name for name in names)


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", ["linux-x86_64", "linux-aarch64"])
def test_pins_are_what_the_tests_ran_with(name: str) -> None:
    known = constraints()
    for suffix in (".tflite", ".onnx", ".xml"):
        pins = dict(line.split("==") for line in board_of(name).pins({suffix}, camera=True))
        different = {
            package for package in pins if known.get(package, pins[package]) != pins[package]
        }
        older = {"openvino", "numpy"} if (name, suffix) == ("linux-aarch64", ".xml") else set()
        assert different == older
        assert {"numpy", "pillow", "safetensors", "click", "rich"} <= set(pins)
        assert {"opencv-python-headless", "starlette", "uvicorn"} <= set(pins) & set(known)


@pytest.mark.parametrize(
    ("files", "board", "message"),
    [
        ([INT8], "windows", "'windows' is not one of 'linux-aarch64'"),
        ([file("int8", ".onnx")], "linux-armv7l", "no runtime for .onnx files exists"),
        ([INT8, file("int8", ".xml")], "linux-aarch64", "different numpy versions"),
        ([INT8, INT8], "linux-aarch64", "same name"),
        ([Path("absent.tflite")], "linux-aarch64", "there is no file"),
    ],
)
def test_refused(files: list[Path], board: str, message: str, tmp_path: Path) -> None:
    done = command.call("bundle", *files, "--board", board, "--out", tmp_path / "out")
    assert message in command.refused(done)
    assert command.contents(tmp_path) == []


def test_a_full_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="exists and is not empty"):
        bundle([INT8], "linux-x86_64", tmp_path)
    assert command.contents(tmp_path) == ["mine.txt"]


def test_the_command_reports(tmp_path: Path) -> None:
    out = tmp_path / "b.tar.gz"
    done = command.call("bundle", INT8, "--board", "linux-armv7l", "--out", out, "--json", "-")
    content: dict[str, Any] = json.loads(command.done(done))
    assert content["bundle"] == str(out)
    assert (content["board"], content["with"]) == ("linux-armv7l", [])
    assert out.exists()


def test_an_older_board_gets_a_tolerance(tmp_path: Path) -> None:
    out = bundle([INT8], "linux-armv7l", tmp_path / "old")
    content = json.loads((out / "bundle.json").read_text())
    assert content["models"][0]["tolerance"] > 0
    assert content["system_packages"] == ["python3-numpy", "python3-pil"]
    assert set(BOARDS) == {"linux-aarch64", "linux-armv7l", "linux-x86_64"}


@pytest.mark.exhaustive
def test_installing_as_on_a_board(tmp_path: Path) -> None:
    """A fresh environment with the pinned packages; needs the package registry."""
    out = bundle([INT8], "linux-x86_64", tmp_path / "board")
    clean = subprocess.run(
        [sys.executable, "-I", str(out / "run.py"), "install"],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
    )
    assert clean.returncode == 0, clean.stderr[-2000:]
    assert "passed: tiny-lite-int8.tflite: pixels identical, logits identical" in clean.stdout
    helped = subprocess.run(
        [out / ".venv/bin/edge-effnet", "--help"], capture_output=True, text=True
    )
    assert helped.returncode == 0
    assert "bundle" in helped.stdout
