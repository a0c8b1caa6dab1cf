"""Live PyTorch modules and state_dicts: read, compared with themselves, and left as they were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_effnet
from edge_effnet import forward
from edge_effnet.errors import CheckpointError, UsageError

torch = pytest.importorskip("torch")

from edge_effnet.converters.frameworks import torch as training  # noqa: E402

SIDE = 64


@pytest.fixture
def lite0() -> Any:
    """A Lite0 of random weights and batch statistics, as a module in training mode."""
    torch.manual_seed(0)
    model = edge_effnet.load("lite0", weights="random", resolution=SIDE, classes=5)
    network = training.build(model)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return network.train()


class Wrapped(torch.nn.Module):
    """A network with something of a user's own behind it."""

    def __init__(self, network: Any, then: Callable[[Any], Any]) -> None:
        super().__init__()
        self.network, self.then = network, then

    def forward(self, image: Any) -> Any:
        return self.then(self.network(image))


def load(weights: Any, **options: Any) -> edge_effnet.Model:
    options = {"resolution": SIDE, "notify": lambda text: None} | options
    return edge_effnet.load("auto", weights=weights, **options)


def answers(model: edge_effnet.Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return forward.logits(model.graph, model.weights, batch)


def state(module: Any) -> list[Any]:
    values = [value.clone() for value in module.state_dict().values()]
    return [*values, *(each.training for each in module.modules())]


def test_a_module_is_read_and_left_as_it_was(lite0: Any) -> None:
    lite0.stages.get_submodule("0").eval()  # a part that is frozen stays so
    before = state(lite0)
    model = load(lite0)
    assert all(np.array_equal(one, other) for one, other in zip(before, state(lite0), strict=True))
    assert (model.variant.short_name, model.classes) == ("lite0", 5)
    batch = np.random.default_rng(1).standard_normal((2, 3, SIDE, SIDE), np.float32)
    with torch.no_grad():
        wanted = lite0.eval()(torch.from_numpy(batch)).numpy()
    assert np.abs(answers(model, batch) - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert model.info.source is not None
    assert model.info.source.file == "the module Network"
    assert len(model.info.source.sha256) == 64


def test_weights_are_a_copy(lite0: Any) -> None:
    model = load(lite0)
    before = {name: values.copy() for name, values in model.weights.items()}
    with torch.no_grad():
        for parameter in lite0.parameters():
            parameter.add_(1.0)
    assert all(np.array_equal(model.weights[name], values) for name, values in before.items())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_float_types_are_compared_in_float32(lite0: Any, dtype: str) -> None:
    lite0.to(getattr(torch, dtype))
    assert load(lite0).weights["stem.conv.weight"].dtype == np.float32
    assert all(str(p.dtype) == f"torch.{dtype}" for p in lite0.parameters())


@pytest.mark.parametrize(
    ("then", "activation", "multi_label"),
    [
        (lambda logits: logits, "softmax", False),
        (lambda logits: logits.softmax(1), "softmax", False),
        (lambda logits: logits.sigmoid(), "sigmoid", True),
        (lambda logits: (logits,), "softmax", False),
        (lambda logits: {"logits": logits}, "softmax", False),
        (lambda logits: SimpleNamespace(logits=logits, hidden=None), "softmax", False),
    ],
)
def test_what_ends_the_module_is_found(
    lite0: Any, then: Any, activation: str, multi_label: bool
) -> None:
    info = load(Wrapped(lite0, then)).info
    assert (info.output_activation, info.multi_label) == (activation, multi_label)


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (lambda logits: logits.relu(), "differ by"),
        (lambda logits: logits * 1.001, "differ by 0.001 "),
        (lambda logits: logits[:, :3], "gives [1, 3] values"),
        (lambda logits: logits * float("nan"), "differ by nan"),
        (lambda logits: (logits, logits), "returns a tuple of 2"),
    ],
)
def test_a_module_that_does_something_else_is_refused(lite0: Any, then: Any, reason: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(Wrapped(lite0, then))
    assert reason in str(caught.value)


def test_a_module_that_cannot_be_run_has_its_flags_back_and_a_way_out(lite0: Any) -> None:
    module = Wrapped(lite0, lambda logits: logits.nonsense())
    with pytest.raises(CheckpointError, match=r"AttributeError.*weights=module\.state_dict\(\)"):
        load(module)
    assert all(each.training for each in module.modules())
    assert load(module.state_dict()).classes == 5


def test_a_head_in_another_dict_of_a_live_checkpoint_is_not_dropped(lite0: Any) -> None:
    tensors = lite0.state_dict()
    head = {"0.weight": torch.ones(3, 1280), "0.bias": torch.ones(3)}
    for beside in ({"ema_decay": 0.9}, {"optimizer": {"exp_avg": torch.ones(2, 2)}}):
        assert load({"state_dict": tensors, **beside}).classes == 5
    with pytest.raises(CheckpointError, match=r"head\.0\.weight"):
        load({"state_dict": tensors, "head": head})


def test_a_state_dict_of_tensors_or_arrays_and_a_checkpoint_of_one(lite0: Any) -> None:
    tensors = lite0.state_dict()
    arrays = {name: value.numpy() for name, value in tensors.items()}
    models = [load(given) for given in (tensors, arrays, {"epoch": 3, "state_dict": tensors})]
    digests = {model.info.source.sha256 for model in models if model.info.source}
    assert len(digests) == 1
    for model in models:
        assert np.array_equal(model.weights["classifier.weight"], arrays["classifier.weight"])


def test_padding_and_epsilon_are_the_modules_own(lite0: Any) -> None:
    for module in lite0.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 0.125
    norms = [node for node in load(lite0).graph if hasattr(node, "eps")]
    assert {node.eps for node in norms} == {0.125}


@pytest.mark.parametrize("weights", [3, None, b"lite0", ["a.pth"]])
def test_other_objects_are_refused(weights: Any) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        load(weights)


def test_a_mapping_without_tensors_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no named tensors"):
        load({"epoch": 3})


def test_export_takes_a_module(lite0: Any, tmp_path: Path) -> None:
    (path,) = edge_effnet.export(
        load(lite0), formats="onnx", precisions="fp32", out=tmp_path / "model"
    )
    (other,) = edge_effnet.export(
        lite0.state_dict(),
        formats="onnx",
        precisions="fp32",
        out=tmp_path / "live",
        notify=lambda text: None,
    )
    assert path.name == other.name


def test_no_framework_is_imported() -> None:
    script = (
        "import sys, numpy as np, edge_effnet\n"
        "model = edge_effnet.load('lite0', weights='random')\n"
        "edge_effnet.load('lite0', weights=dict(model.weights), notify=lambda text: None)\n"
        "assert not {'keras', 'tensorflow', 'torch'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
