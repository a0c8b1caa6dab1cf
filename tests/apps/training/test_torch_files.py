"""Files of torch on a full disk, and the policy of waiting threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_effnet.apps.training import torch_files
from edge_effnet.errors import OutputError

resource = pytest.importorskip("resource", reason="POSIX limits")
torch = pytest.importorskip("torch")


def test_a_full_disk_is_told_and_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch_files.write(path, {"weights": torch.zeros(10)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"state.pt: the disk is full; free some space"):
            torch_files.write(path, {"weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_waiting_threads_sleep_unless_the_user_chose(chosen: str | None) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if chosen:
        environment["OMP_WAIT_POLICY"] = chosen
    code = (
        "import os\nfrom edge_effnet.apps.training.torch_files import let_waiting_threads_sleep\n"
        "let_waiting_threads_sleep()\nprint(os.environ['OMP_WAIT_POLICY'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == (chosen or "PASSIVE")
