"""IMX500 writer: int8 files for Sony's sensor, the Raspberry Pi AI Camera.

The sensor's activations have power-of-two ranges around 0, unlike those of our plan. Sony's toolkit
therefore quantizes our float network on our calibration photos, and its simulation of the quantized
network gives the logits of the fidelity check. The input is the sensor's pixels, and the first
convolution takes over their normalisation. Raspberry Pi OS's packager makes an .rpk of the .zip.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.passes.input_normalization import with_normalization
from edge_effnet.card import ModelCard, Quantization
from edge_effnet.converters.formats.unwritable import check_layers
from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, Add, Conv, Dense, GlobalAveragePool, Mul, Node
from edge_effnet.graph_json import graph_to_json
from edge_effnet.model import Model
from edge_effnet.toolchains import environment, worker
from edge_effnet.toolchains.registry import IMX500

if TYPE_CHECKING:
    from edge_effnet.converters.formats.further import Int8Source

#: The network's input is (pixel - 128) / 128: int8 integers with a range of one, as the sensor has.
_MIDDLE = 128
_SECONDS = 3600.0


def check_installed() -> None:
    """Install Sony's toolchain if it is missing; raises `MissingExtra`."""
    environment.prepared(IMX500)


def check_network(model: Model) -> None:
    """Raise `UsageError` if the sensor cannot run ``model``, whose BN is folded."""
    check_layers(model.graph, "IMX500", _holds)


def _holds(node: Node) -> bool:
    if isinstance(node, Activation):
        return node.kind != "gelu"
    return isinstance(node, (Conv, Dense, Add, Mul, GlobalAveragePool))


def quantization(source: Int8Source) -> Quantization:
    """Sony's quantizer and its version."""
    samples = source.samples
    record = None if samples is None else samples.record
    name = f"model-compression-toolkit {IMX500.version('model-compression-toolkit')}"
    return Quantization(name, "", record)


def write_int8(source: Int8Source, card: ModelCard, folder: Path) -> NDArray[np.float32]:
    """Write ``model.imx500.zip``, the card ``.json``, and the class names ``.txt``.

    Returns:
        Simulated outputs float32 [n, outputs] of the source's photos.

    Raises:
        UsageError: A finished plan is exported, without photos.
        DeviceError: The network has an unsupported layer, or exceeds the sensor's memory.
    """
    if source.samples is None:
        raise UsageError(
            "imx500 files are quantized by Sony's toolkit, not from a finished plan",
            hint="export the network itself, with calibration=",
        )
    model = with_normalization(source.model, _MIDDLE, float(_MIDDLE))
    graph = json.dumps(graph_to_json(model.graph))
    (folder / "network.json").write_text(graph, "utf-8")
    np.savez(folder / "weights.npz", **cast("dict[str, Any]", dict(model.weights)))
    np.save(folder / "calibration.npy", source.samples.pixels)
    np.save(folder / "images.npy", source.judged)
    source.report("compile for IMX500", 0, 1)
    worker.run(IMX500, "imx500", folder, seconds=_SECONDS)
    source.report("compile for IMX500", 1, 1)
    (folder / "model.imx500.json").write_text(card.to_json(), "utf-8")
    (folder / "model.imx500.txt").write_text("\n".join(card.labels) + "\n", "utf-8")
    outputs: NDArray[np.float32] = np.load(folder / "logits.npy")
    return outputs
