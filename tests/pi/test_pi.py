"""A bundle on an emulated Raspberry Pi 4: the same pixels and the same integers as here.

Needs root (mount namespaces, Debian packages) and the package registry; `make pi` runs it. The
machine is made once in EDGE_EFFNET_PI (default build/pi) and used again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet.apps.bundle.boards import board_of
from edge_effnet.apps.bundle.bundle import bundle
from support.labelled_photos import Files, LabelledPhotos

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("EDGE_EFFNET_PI") or HERE.parents[1] / "build" / "pi").resolve()
#: What pip on Raspberry Pi OS 12 accepts (glibc 2.36), in its order.
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (36, 35, 34, 31, 28, 27, 17)]
PHOTOS = 50
MEMORY_BAR = 120e6  # bytes; with the emulator's own share it was 115 to 118 MB
INTEGER = ("int8.tflite", "int8.onnx")
#: File -> the arrays of `device.py` (here, there).
Measured = dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]


@pytest.fixture(scope="module")
def pi() -> Path:
    """The root folder of the emulated machine."""
    if os.geteuid() != 0:
        pytest.skip("the emulated Pi needs root")
    subprocess.run([HERE / "root.sh", ROOT], check=True, timeout=1800)
    return ROOT


@pytest.fixture(scope="module")
def board(pi: Path, lite0_files: Files) -> Path:
    """The bundle of an integer file of each kind and a float one, installed on the Pi."""
    files = [lite0_files[key] for key in (("tflite", "int8"), ("onnx", "int8"), ("tflite", "fp32"))]
    return installed(pi, files, "board", camera=True)


def installed(pi: Path, files: list[Path], name: str, *, camera: bool = False) -> Path:
    """Bundle ``files`` and install as pip on the board would, from requirements.txt."""
    folder = pi / "home" / "pi" / name
    shutil.rmtree(folder, ignore_errors=True)
    bundle(files, "linux-aarch64", folder, camera=camera)
    choice = [word for platform in PLATFORMS for word in ("--platform", platform)]
    python = ["--python-version", "3.11", "--implementation", "cp", "--only-binary=:all:"]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--target", folder / "site", "--requirement", "requirements.txt", *python, *choice),
        ],
        cwd=folder,
        check=True,
        timeout=1800,
    )
    return folder


def on_the_pi(folder: Path, script: Path, *arguments: str | Path) -> str:
    """The output of a script run there by Python 3.11; paths under ROOT become the Pi's own."""
    words = [str(word).removeprefix(str(ROOT)) for word in (script, *arguments)]
    site = str(folder / "site").removeprefix(str(ROOT))
    done = subprocess.run(
        [HERE / "run.sh", ROOT, "/usr/bin/python3.11", *words],
        env={**os.environ, "PI_PYTHONPATH": site},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photos(pi: Path, imagenet_dev: LabelledPhotos) -> Path:
    """50 photos, and one of each awkward kind, where both machines find them."""
    folder = pi / "home" / "pi" / "photos"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = imagenet_dev.paths("evaluation")
    for path in paths[:: len(paths) // PHOTOS][:PHOTOS]:
        shutil.copy(path, folder)
    with Image.open(paths[0]) as opened:
        photo = opened.convert("RGB")
    photo.convert("L").save(folder / "grey.png")
    photo.convert("P").save(folder / "palette.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.resize((1999, 371)).save(folder / "wide.webp")
    photo.resize((31, 57)).save(folder / "small.bmp")
    return folder


@pytest.fixture(scope="module")
def measured(board: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """What `device.py` writes on both machines, by model file name: (here, there)."""
    script = shutil.copy(HERE / "device.py", board)
    folder = tmp_path_factory.mktemp("here")
    made = {}
    for model in sorted((board / "models").iterdir()):
        here, there = folder / f"{model.name}.npz", board / f"{model.name}.npz"
        subprocess.run([sys.executable, script, model, photos, here], check=True, timeout=1800)
        on_the_pi(board, board / "device.py", model, photos, there)
        with np.load(here) as first, np.load(there) as second:
            made[model.name.partition("-")[2].split("-", 1)[1]] = (dict(first), dict(second))
    return made


def test_the_machine_is_a_pi(board: Path) -> None:
    script = board / "what.py"
    script.write_text("import platform; print(platform.machine(), open('/proc/cpuinfo').read())")
    said = on_the_pi(board, script)
    assert said.startswith("aarch64")
    assert "0xd08" in said  # Cortex-A72


def test_the_self_test_passes(board: Path) -> None:
    lines = on_the_pi(board, board / "run.py", "self-test").splitlines()
    print("\n".join(lines))
    assert len(lines) == 3
    assert all(line.startswith("passed: ") for line in lines)
    assert all("pixels identical" in line for line in lines)
    assert ["logits identical" in line for line in lines[:2]] == [True, True]
    assert "XNNPACK int8" in lines[0]


def test_pixels_are_identical(measured: Measured) -> None:
    for here, there in measured.values():
        assert len(here["pixels"]) == PHOTOS + 5
        np.testing.assert_array_equal(here["pixels"], there["pixels"])


@pytest.mark.parametrize("name", INTEGER)
def test_integer_files_give_the_same_bits(measured: Measured, name: str) -> None:
    here, there = measured[name]
    assert here["logits"].dtype == np.float32
    assert zlib.crc32(here["logits"].tobytes()) == zlib.crc32(there["logits"].tobytes())
    assert len({row.tobytes() for row in there["logits"]}) > PHOTOS  # one a photo, not one for all


def test_float_files_agree(measured: Measured) -> None:
    here, there = measured["fp32.tflite"]
    np.testing.assert_allclose(there["logits"], here["logits"], atol=1e-4)
    assert (there["logits"].argmax(1) == here["logits"].argmax(1)).all()


def test_it_is_small(measured: Measured) -> None:
    total, program = measured["int8.tflite"][1]["memory"]
    print(f"resident: {total / 1e6:.1f} MB, of which the program {program / 1e6:.1f} MB")
    assert 20e6 < program < MEMORY_BAR


def test_photos_are_named(board: Path, photos: Path) -> None:
    photo = min(photos.glob("*.jpg"))
    said = on_the_pi(board, board / "run.py", "classify", photo, "--top", "1")
    assert '"label"' in said


def test_the_camera_predicts_what_classify_does(board: Path, photos: Path) -> None:
    """OpenCV and the threads, on lossless pictures, as JSON lines."""
    folder = board / "frames"
    folder.mkdir()
    for path in sorted(photos.glob("*.jpg"))[:3]:
        with Image.open(path) as photo:
            photo.convert("RGB").save(folder / f"{path.stem}.png")
    options = ("--preview", "none", "--pace", "fast", "--predictions", "-")
    said = on_the_pi(board, board / "run.py", "camera", "--source", folder, *options)
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    said = on_the_pi(board, board / "run.py", "classify", *sorted(folder.iterdir()))
    classified = [json.loads(line) for line in said.splitlines()]
    assert [(line["label"], line["probability"]) for line in lines] == [
        (line["label"], line["probability"]) for line in classified
    ]


def test_openvino_runs_at_its_pin(pi: Path, lite0_files: Files) -> None:
    assert "openvino==2025.2.0" in board_of("linux-aarch64").pins({".xml"})
    board = installed(pi, [lite0_files["openvino", "int8"]], "openvino")
    (line,) = on_the_pi(board, board / "run.py", "self-test").splitlines()
    print(line)
    assert line.startswith("passed: ")
