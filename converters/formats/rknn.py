"""RKNN writer: int8 files for Rockchip's NPUs, compiled from our quantized .onnx file.

Rockchip's toolkit imports the QuantizeLinear and DequantizeLinear operators: the integer weights
and the scales are those of our plan. Its simulator computes the logits of the fidelity check. The
input is uint8 RGB [1, height, width, 3], the output float32 logits [1, classes]. The card is
in a .json beside the .rknn files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard, Quantization
from edge_effnet.converters.formats import onnx
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.toolchains import environment, worker
from edge_effnet.toolchains.registry import RKNN

if TYPE_CHECKING:
    from edge_effnet.converters.formats.further import Int8Source

#: Chips whose files are written, in the order of the format's suffixes.
PLATFORMS = ("rk3588", "rk3576", "rk3566")
_SECONDS = 1800.0


def check_installed() -> None:
    """Install Rockchip's toolkit if it is missing; raises `MissingExtra`."""
    environment.prepared(RKNN)


def quantization(source: Int8Source) -> Quantization:
    """Our plan's quantizer and recipe, compiled by Rockchip's toolkit."""
    return OurQuantized({"int8": source.quantized()}).quantization_info("int8")


def write_int8(source: Int8Source, card: ModelCard, folder: Path) -> NDArray[np.float32]:
    """Write ``model.<platform>.rknn`` for each of `PLATFORMS`, and ``model.rknn.json``.

    Returns:
        Simulated outputs float32 [n, outputs] of the source's photos.

    Raises:
        DeviceError: The toolkit cannot convert the network.
    """
    quantized = source.quantized().for_format("onnx")
    data = onnx.write(quantized.model, quantized.plan, card, "uint8")
    (folder / "network.onnx").write_bytes(data)
    (folder / "model.rknn.json").write_text(card.to_json(), "utf-8")
    np.save(folder / "images.npy", source.judged)
    source.report("compile for RKNN", 0, 1)
    worker.run(RKNN, "rknn", folder, PLATFORMS, seconds=_SECONDS)
    source.report("compile for RKNN", 1, 1)
    outputs: NDArray[np.float32] = np.load(folder / "logits.npy")
    return outputs
