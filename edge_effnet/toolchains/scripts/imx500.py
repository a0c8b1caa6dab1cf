"""Quantize and compile a network for Sony's IMX500 sensor: imx500.py FOLDER.

FOLDER holds ``network.json`` (the graph), ``weights.npz``, ``calibration.npy`` and ``images.npy``,
both uint8 [n, height, width, 3]. Written there: ``model.imx500.zip``, which the packager of
Raspberry Pi OS reads, ``logits.npy``, float32 [n, outputs] of the quantized network's simulation,
and ``memory.json``, the converter's memory report. The network's input is (pixel - 128) / 128,
whose int8 integers are the pixels minus 128.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, MutableSequence, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_BATCH = 25
_SECONDS = 1800
_COMPILED = "packerOut.zip"


class _Placeholder(ModuleType):
    """A module whose every attribute is an empty class."""

    __path__: MutableSequence[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _WithoutTorchvision(MetaPathFinder, Loader):
    """Lets Sony's packages import torchvision, of which this script uses nothing.

    torchvision's wheels do not load beside the CPU build of torch 2.13.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.split(".")[0] != "torchvision":
            return None
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def main(folder: Path) -> None:
    """Quantize, simulate, compile."""
    sys.meta_path.insert(0, _WithoutTorchvision())
    torch, toolkit = import_module("torch"), import_module("model_compression_toolkit")
    calibration, images = (np.load(folder / f"{n}.npy") for n in ("calibration", "images"))
    network = build(torch, json.loads((folder / "network.json").read_text()), folder)

    def batches() -> Iterator[list[np.ndarray]]:
        for start in range(0, len(calibration), _BATCH):
            yield [planes(calibration[start : start + _BATCH])]

    quantized, _ = toolkit.ptq.pytorch_post_training_quantization(network, batches)
    quantized = quantized.cpu().eval()
    np.save(folder / "logits.npy", simulate(torch, quantized, images))
    torch.onnx.export = partial(torch.onnx.export, dynamo=False)  # as the toolkit expects
    toolkit.exporter.pytorch_export_model(
        model=quantized, save_model_path=str(folder / "network.onnx"), repr_dataset=batches
    )
    compile_network(folder)


def planes(pixels: np.ndarray) -> np.ndarray:
    """The network's input float32 [n, 3, height, width] of pixels [n, height, width, 3]."""
    return np.ascontiguousarray((pixels.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128)


def simulate(torch: Any, network: Any, images: np.ndarray) -> np.ndarray:
    """Outputs float32 [n, outputs]."""
    with torch.no_grad():
        rows = [network(torch.tensor(planes(image[None]))).numpy()[0] for image in images]
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def compile_network(folder: Path) -> None:
    """Run Sony's converter on ``network.onnx``."""
    out = folder / "compiled"
    command = [str(Path(sys.executable).with_name("imxconv-pt")), "-i", "network.onnx"]
    command += ["-o", str(out), "--no-input-persistency", "--overwrite-output"]
    done = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    print(done.stdout, done.stderr)
    if done.returncode or not (out / _COMPILED).is_file():
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        sys.exit((errors or lines or ["imxconv-pt wrote nothing"])[-1])
    shutil.move(out / _COMPILED, folder / "model.imx500.zip")
    report = next(out.glob("*_MemoryReport.json"))
    shutil.move(report, folder / "memory.json")


def build(torch: Any, graph: dict[str, Any], folder: Path) -> Any:
    """The graph as a PyTorch module, whose layers the toolkit can trace."""
    weights = np.load(folder / "weights.npz")
    layers: dict[str, Any] = {}
    channels = {graph["input"]: graph["input_shape"][0]}
    for node in graph["nodes"]:
        inputs = channels[node["inputs"][0]]
        channels[node["name"]] = node.get("channels") or node.get("units") or inputs
        layer = layer_of(torch, node, inputs)
        if layer is None:
            continue
        layers[key(node)] = layer
        for part, _ in layer.named_parameters():
            values = torch.tensor(weights[f"{node['name']}.{part}"])
            getattr(layer, part).data = values

    class Network(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            for name, layer in layers.items():
                self.add_module(name, layer)

        def forward(self, image: Any) -> Any:
            values = {graph["input"]: image}
            for node in graph["nodes"]:
                values[node["name"]] = self.compute(node, [values[n] for n in node["inputs"]])
            return values[graph["nodes"][-1]["name"]]

        def compute(self, node: dict[str, Any], inputs: list[Any]) -> Any:
            first = inputs[0]
            if node["type"] == "Add":
                return first + inputs[1]
            if node["type"] == "Mul":
                return first * inputs[1]
            top, left, bottom, right = node.get("pads", (0, 0, 0, 0))
            if not symmetric((top, left, bottom, right)):
                # The toolkit's shift of negative activations fails on torch.nn.ZeroPad2d.
                first = torch.nn.functional.pad(first, (left, right, top, bottom))
            value = getattr(self, key(node))(first)
            if node["type"] == "GlobalAveragePool" and not node.get("keepdims"):
                value = torch.flatten(value, 1)
            return value

    return Network().eval()


def layer_of(torch: Any, node: dict[str, Any], inputs: int) -> Any:
    """The PyTorch layer of a node; None for sums and products."""
    nn = torch.nn
    if node["type"] == "Conv":
        pads = tuple(node["pads"][:2]) if symmetric(node["pads"]) else 0
        sizes = (inputs, node["channels"], node["kernel"], node["stride"])
        return nn.Conv2d(*sizes, padding=pads, groups=node["groups"], bias=node["bias"])
    if node["type"] == "Dense":
        return nn.Linear(inputs, node["units"], bias=node["bias"])
    if node["type"] == "Activation":
        kinds = {"relu": nn.ReLU, "relu6": nn.ReLU6, "swish": nn.SiLU, "sigmoid": nn.Sigmoid}
        kinds |= {"hard_swish": nn.Hardswish, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU}
        if node["kind"] not in kinds:
            sys.exit(f"the IMX500 has no {node['kind']} ({node['name']})")
        return kinds[node["kind"]]()
    if node["type"] == "GlobalAveragePool":
        return nn.AdaptiveAvgPool2d(1)
    if node["type"] in ("Add", "Mul"):
        return None
    sys.exit(f"there is no form of {node['type']} ({node['name']}) for the IMX500")


def symmetric(pads: Sequence[int]) -> bool:
    """Whether a convolution can pad itself by ``pads`` (top, left, bottom, right)."""
    return tuple(pads[:2]) == tuple(pads[2:])


def key(node: dict[str, Any]) -> str:
    """Name of the node's layer in the module."""
    return str(node["name"]).replace(".", "_")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
