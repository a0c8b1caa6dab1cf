"""Small classifiers and photos for the tests of `edge_effnet.benchmarks`, built in milliseconds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet import digest
from edge_effnet.card import CARD_KEY, ModelCard, Quantization
from edge_effnet.names import OutputActivation
from edge_effnet.preprocess import Preprocess

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = 8
LABELS = tuple(f"colour {index}" for index in range(7))
PREPROCESS = Preprocess(SIZE, 1.0, "nearest")


def weights(seed: int = 0, classes: int = len(LABELS)) -> np.ndarray:
    """float32 [3, classes]: logits are these times the photo's mean colour."""
    return np.random.default_rng(seed).normal(0, 4, (3, classes)).astype(np.float32)


def model(
    path: Path,
    matrix: np.ndarray | None = None,
    *,
    precision: str = "fp32",
    labels: tuple[str, ...] = LABELS,
    variant: str = "efficientnet-lite0",
    preprocess: Preprocess = PREPROCESS,
    card: bool = True,
    activation: OutputActivation = "softmax",
) -> Path:
    """Write an .onnx file that averages the photo and multiplies by ``matrix``."""
    from onnx import TensorProto, helper, numpy_helper

    matrix = weights() if matrix is None else matrix
    size = preprocess.size
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, matrix.shape[1]])],
        [numpy_helper.from_array(matrix.astype(np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if not card:
        path.write_bytes(proto.SerializeToString())
        return path
    quantization = Quantization("edge-effnet", "default") if precision == "int8" else None
    text = ModelCard(
        variant=variant,
        preprocess=preprocess,
        labels=labels,
        precision=precision,  # type: ignore[arg-type]
        quantization=quantization,
        output_activation=activation,
        multi_label=activation == "sigmoid" and matrix.shape[1] > 1,
        digest=digest.PLACEHOLDER,
    ).to_json()
    helper.set_model_props(proto, {CARD_KEY: text})
    path.write_bytes(digest.stamp(proto.SerializeToString()))
    return path


def photos(folder: Path, count: int = 40, seed: int = 1) -> list[Path]:
    """Write photos of one colour each, a little noisy."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = []
    for index in range(count):
        colour = generator.integers(20, 236, 3)
        pixels = colour + generator.integers(-20, 20, (SIZE * 2, SIZE * 2, 3))
        paths.append(folder / f"photo{index:03d}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def labels_csv(path: Path, rows: list[tuple[str, ...]], header: str = "file,label") -> Path:
    """Write a labels CSV."""
    with open(path, "w", newline="") as stream:
        stream.write(header + "\n")
        csv.writer(stream, lineterminator="\n").writerows(rows)
    return path
