"""Any damage to a checkpoint gives CheckpointError, and nothing else."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.checkpoints.readers import pickles
from edge_effnet.checkpoints.readers.tensors import read_tensors
from edge_effnet.errors import CheckpointError
from support.checkpoint_writer import CheckpointWriter, Code, call, emit, name, safetensors_bytes


def _sample(kind: str) -> bytes:
    values = np.arange(6, dtype="f4").reshape(2, 3)
    if kind == "safetensors":
        header = {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
        }
        return safetensors_bytes(header, values.tobytes() + b"\0" * 4)
    writer = CheckpointWriter(kind == "legacy")
    state = {
        "a.weight": writer.tensor(values),
        "a.bias": writer.tensor(values[0].astype("f2")),
        "a.count": writer.tensor(np.array(3, "i8")),
    }
    tree = {"state_dict": state, "args": call(name("argparse", "Namespace")), "epoch": 3}
    return writer.bytes(tree)


_SAMPLES = {kind: _sample(kind) for kind in ("legacy", "zip", "safetensors")}


def _survives(folder: Path, data: bytes) -> None:
    path = folder / "weights.pth"
    path.write_bytes(data)
    try:
        arrays = read_tensors(path)
    except CheckpointError:
        return
    for array in arrays.values():
        array.sum()  # reads every byte


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("kind", _SAMPLES)
def test_every_truncation(folder, kind):
    data = _SAMPLES[kind]
    path = folder / "weights.pth"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_tensors(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", _SAMPLES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage(folder, kind, data):
    damaged = bytearray(_SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    _survives(folder, bytes(damaged))


_PIECES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes] + [
    *(name(*key.rsplit(".", 1)).code for key in pickles._GLOBALS),
    *(emit(value) for value in ("storage", "state_dict", "a", "cpu", 0, 1, -1, (1,), (), {}, [])),
]


@pytest.mark.filterwarnings("error")
@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.sampled_from(_PIECES) | st.binary(max_size=4), max_size=40))
def test_random_programs(folder, pieces):
    writer = CheckpointWriter(legacy=False)
    tensor = writer.tensor(np.ones(2, "f4"))
    _survives(folder, writer.bytes(Code(emit(tensor) + b"".join(pieces))))
