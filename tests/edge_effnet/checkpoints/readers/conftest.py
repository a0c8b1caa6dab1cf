"""Writers of both formats of PyTorch, and the reader of what they write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.checkpoints.readers.tensors import read_tensors
from support.checkpoint_writer import CheckpointWriter


@pytest.fixture(params=[True, False], ids=["legacy", "zip"])
def writer(request: pytest.FixtureRequest) -> CheckpointWriter:
    return CheckpointWriter(request.param)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, np.ndarray]]:
    def read_bytes(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return read_tensors(path)

    return read_bytes
