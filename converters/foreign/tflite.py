"""Foreign networks with unknown layers to .tflite by onnx2tf; int8 by ai-edge-quantizer.

onnx2tf runs in a separate process and folder, because it imports TensorFlow, prints much and writes
into its working folder. onnx2tf downloads sample images unless the folder contains some, so noise
images are placed there.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import installation, subprocesses
from edge_effnet.card import ModelCard
from edge_effnet.converters.foreign.onnx_file import Network, onnx
from edge_effnet.converters.vendors.common import quiet, require_google, with_card
from edge_effnet.errors import CheckpointError, MissingExtra, QuantizationError, require

EXTRA = "onnx2tf"
_QUANTIZER_EXTRA = "ai-edge-quantizer"
_SECONDS = 1800
_SIGNATURE, _INPUT = "serving_default", "image"
_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def check_installed(unknown: str) -> None:
    """Raise `MissingExtra` if onnx2tf is missing.

    Args:
        unknown: The layer that our TFLite writer does not have, for the message.
    """
    if find_spec(EXTRA) is None:
        raise MissingExtra(
            f"the TFLite writer does not know {unknown}, and onnx2tf, which may know it, is not "
            f"installed: {installation.pip_line(EXTRA)} (in an environment of its own: it pins old "
            "versions)",
            hint="or leave TFLite out: formats=['onnx', 'openvino']",
        )


def convert(network: Network) -> dict[str, bytes]:
    """The "fp32" and "fp16" files that onnx2tf writes, by precision.

    Raises:
        CheckpointError: onnx2tf cannot convert the network.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(network.proto, folder / "model.onnx")
        noise = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
        np.save(folder / _SAMPLES, noise)
        arguments = ["-i", "model.onnx", "-o", "made", "-b", "1", "-n", "-v", "error"]
        if network.input.layout == "NHWC":
            arguments += ["-kat", network.tensor]
        try:
            done = subprocess.run(  # noqa: S603
                subprocesses.command(EXTRA, *arguments),
                cwd=folder,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CheckpointError(
                f"onnx2tf did not finish {network.file} within {_SECONDS // 60} minutes; write "
                "another format, or convert it on a faster machine"
            ) from None
        files = {
            "fp32": folder / "made" / "model_float32.tflite",
            "fp16": folder / "made" / "model_float16.tflite",
        }
        if done.returncode != 0 or not files["fp32"].is_file():
            raise CheckpointError(
                f"onnx2tf cannot convert {network.file} "
                f"({_last_message(done.stderr, done.stdout)})",
                hint="write it to the other formats: formats=['onnx', 'openvino']",
            )
        return {key: path.read_bytes() for key, path in files.items() if path.is_file()}


def quantize(data: bytes, file: str, batches: Iterable[NDArray[np.float32]]) -> bytes:
    """Full int8 file of a float .tflite of the network in ``file``.

    ``batches`` are normalised inputs [1, side, side, 3].

    Raises:
        QuantizationError: ai-edge-quantizer fails.
    """
    quantizer, recipes = require_google("quantizer"), require_google("recipe")
    try:
        with quiet():
            tool = quantizer.Quantizer(_with_signature(data), recipes.static_wi8_ai8())
            feed = [{_INPUT: batch} for batch in batches]
            result = tool.quantize(tool.calibrate({_SIGNATURE: feed}))
        return bytes(result.quantized_model)
    except Exception as error:  # the tool's errors have no common base
        raise QuantizationError(
            f"ai-edge-quantizer failed on {file} ({type(error).__name__}: {error}); "
            "export fp16 instead"
        ) from error


def add_card(data: bytes, card: ModelCard) -> bytes:
    """``data`` with the card as a metadata buffer."""
    return with_card(data, card, require("ai_edge_litert.tools.flatbuffer_utils", _QUANTIZER_EXTRA))


def _with_signature(data: bytes) -> bytes:
    """``data`` with a signature, which ai-edge-quantizer needs and onnx2tf may omit."""
    utils: Any = require("ai_edge_litert.tools.flatbuffer_utils", _QUANTIZER_EXTRA)
    model, schema = utils.read_model_from_bytearray(bytearray(data)), utils.schema_fb
    (graph,) = model.subgraphs
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _SIGNATURE, 0
    endpoints = ((_INPUT, graph.inputs), ("logits", graph.outputs))
    signature.inputs, signature.outputs = (
        [_tensor_map(schema, name, int(index)) for index in indices] for name, indices in endpoints
    )
    model.signatureDefs = [signature]
    return bytes(utils.convert_object_to_bytearray(model))


def _tensor_map(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def _last_message(*outputs: str) -> str:
    """The last non-empty line of ``outputs``."""
    for output in outputs:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        if lines:
            return lines[-1][:200]
    return "no message"
