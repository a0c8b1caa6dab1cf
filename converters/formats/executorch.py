"""ExecuTorch writer: a .pte file for XNNPACK, exported by PyTorch.

``forward`` maps normalised float32 [1, 3, height, width] to logits [1, classes]. The method
``edge_effnet`` returns the model card's JSON. int8 files have the weights, scales and zero points
of our plan. ExecuTorch's runtime computes the logits of the fidelity check.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.card import CARD_KEY, ModelCard, Quantization
from edge_effnet.errors import require
from edge_effnet.model import Model

if TYPE_CHECKING:
    from edge_effnet.converters.formats.further import Int8Source

torch: Any = require("torch", "executorch")
exir: Any = require("executorch.exir", "executorch")
_partition: Any = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")

#: Nodes of a lowered graph that compute nothing of the network.
_CONVERSIONS = ("quantize_per", "dequantize_per", "getitem", "executorch_call_delegate")


def write(model: Model, card: ModelCard, folder: Path) -> None:
    """Write ``model.pte`` of a model with BN folded."""
    from edge_effnet.converters.frameworks.torch import build

    _save(build(model), model, card, folder)


def quantization(source: Int8Source) -> Quantization:
    """Our plan's quantizer and recipe."""
    from edge_effnet.converters.quantize import OurQuantized

    return OurQuantized({"int8": source.quantized()}).quantization_info("int8")


def write_int8(source: Int8Source, card: ModelCard, folder: Path) -> NDArray[np.float32]:
    """Write ``model.pte`` with the integers of our plan.

    Returns:
        Outputs float32 [n, outputs] of the source's photos, by ExecuTorch's runtime.
    """
    from edge_effnet.converters.formats.executorch_quantized import QuantizedNetwork

    quantized = source.quantized().for_format("tflite")
    # The prepared network may have another normalisation than the original one.
    preprocess = quantized.model.info.preprocess
    card = replace(card, input="normalised", preprocess=preprocess)
    source.report("write ExecuTorch", 0, 1)
    lowered = _save(QuantizedNetwork(quantized).eval(), quantized.model, card, folder)
    outside = [kind for kind, delegated in operators(lowered) if not delegated]
    if outside:
        source.say(
            f"XNNPACK leaves {len(outside)} operators of the .pte file to slow portable kernels: "
            f"{', '.join(sorted(set(outside)))}"
        )
    source.report("write ExecuTorch", 1, 1)
    return run(folder / "model.pte", preprocess.normalise(source.judged))


def run(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs float32 [n, outputs] of normalised images [n, height, width, 3]."""
    runtime: Any = require("executorch.runtime", "executorch")
    if not len(images):
        return np.zeros((0, 0), np.float32)
    forward = runtime.Runtime.get().load_program(path).load_method("forward")
    rows = []
    for image in images:
        tensor = torch.tensor(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
        rows.append(forward.execute([tensor])[0][0].numpy().copy())
    return np.stack(rows)


def operators(lowered: Any) -> Iterator[tuple[str, bool]]:
    """Kind of each operator of a lowered program, and whether XNNPACK runs it.

    Quantize and dequantize operators are left out.
    """
    root = lowered.exported_program().graph_module
    delegates = [
        module.original_module.graph_module
        for module in root.children()
        if hasattr(module, "original_module")
    ]
    for graph_module in (root, *delegates):
        for node in graph_module.graph.nodes:
            kind = getattr(node.target, "__name__", str(node.target))
            if node.op == "call_function" and not kind.startswith(_CONVERSIONS):
                yield kind, graph_module is not root


def _save(network: Any, model: Model, card: ModelCard, folder: Path) -> Any:
    """Write ``model.pte`` of a PyTorch module; returns the lowered program."""
    sample = (torch.zeros(1, *model.graph.input_shape),)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of its own deprecated parts
        lowered = exir.to_edge_transform_and_lower(
            torch.export.export(network, sample),
            partitioner=[_partition.XnnpackPartitioner()],
            constant_methods={CARD_KEY: replace(card, digest=digest.PLACEHOLDER).to_json()},
        )
        data = bytes(lowered.to_executorch().buffer)
        (folder / "model.pte").write_bytes(digest.stamp(data))
    return lowered
