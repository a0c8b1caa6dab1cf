"""open(path) of other toolkits' files: image classifiers run as described, others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_effnet import open as open_file
from edge_effnet.errors import ModelFileError
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime import opening
from edge_effnet.runtime.base import input_spec

pytest.importorskip("openvino", reason="the files are opened by all three runtimes")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")


def foreign(
    folder: Path,
    shape: list[int | str],
    dtype: str = "FLOAT",
    *,
    inputs: int = 1,
    pooled: bool = True,
    flat: bool = True,
) -> Path:
    """Another toolkit's .onnx: pooled colours to seven classes."""
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(0).standard_normal((7, 3, 1, 1)).astype(np.float32)
    constant = onnx.numpy_helper.from_array(weights, "w")
    nodes, name = [make.make_node("Cast", ["x"], ["float"], to=kinds.FLOAT)], "float"
    if shape[-1] == 3:
        nodes.append(make.make_node("Transpose", [name], ["planes"], perm=[0, 3, 1, 2]))
        name = "planes"
    if pooled:
        nodes.append(make.make_node("GlobalAveragePool", [name], ["pooled"]))
        name = "pooled"
    nodes.append(make.make_node("Conv", [name, "w"], ["scores"]))
    nodes.append(make.make_node("Flatten" if flat else "Identity", ["scores"], ["y"]))
    entries = [make.make_tensor_value_info("x", getattr(kinds, dtype), shape)]
    entries += [make.make_tensor_value_info(f"x{n}", kinds.FLOAT, [1]) for n in range(1, inputs)]
    if not inputs:
        nodes, entries = [make.make_node("Identity", ["w"], ["y"])], []
    output = make.make_tensor_value_info("y", kinds.FLOAT, None)
    graph = make.make_graph(nodes, "foreign", entries, [output], [constant])
    opset = [make.make_opsetid("", 13)]
    path = folder / "foreign.onnx"
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def as_openvino(path: Path) -> Path:
    import openvino as ov

    target = path.with_suffix(".xml")
    ov.save_model(ov.Core().read_model(path), target, compress_to_fp16=False)
    return target


@pytest.mark.parametrize(
    ("shape", "dtype", "flat", "converted"),
    [
        ([1, 3, 32, 32], "FLOAT", False, False),  # [1, 7, 1, 1]
        (["N", 3, 32, 32], "FLOAT", True, False),
        (["N", 3, 32, 32], "FLOAT", True, True),
        ([1, 32, 32, 3], "FLOAT", True, False),
        ([2, 3, 32, 32], "FLOAT", False, False),
        ([2, 3, 32, 32], "FLOAT", True, True),
        ([1, 32, 32, 3], "UINT8", True, False),
        ([1, 32, 32, 3], "UINT8", True, True),
    ],
)
def test_other_toolkits_files(
    shape: list[int | str], dtype: str, flat: bool, converted: bool, tmp_path: Path
) -> None:
    path = foreign(tmp_path, shape, dtype, flat=flat)
    path = as_openvino(path) if converted else path
    preprocess = Preprocess(32, 1.0)
    classifier = open_file(path, preprocess=preprocess)
    assert classifier.card.labels == tuple(f"class {n}" for n in range(7))
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    values = picture.astype(np.float32) if dtype == "UINT8" else preprocess.normalise(picture)
    weights = np.random.default_rng(0).standard_normal((7, 3, 1, 1)).astype(np.float32)
    expected = weights[:, :, 0, 0] @ values.mean((0, 1))
    np.testing.assert_allclose(classifier.logits([picture])[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("converted", [False, True], ids=["onnx", "openvino"])
@pytest.mark.parametrize(
    ("shape", "dtype", "options", "message"),
    [
        ([1, 3, "H", "W"], "FLOAT", {}, "has no fixed size"),
        ([1, 3, 32, 32], "FLOAT16", {}, r"is f(loat)?16 \[1, 3, 32, 32\]"),
        ([1, 3, 32, 32], "INT64", {}, r"is i(nt)?64 \[1, 3, 32, 32\]"),
        ([1, 3, 32, 32], "FLOAT", {"inputs": 0}, "has 0 inputs; an image classifier has one"),
        (
            [1, 3, 32, 32],
            "FLOAT",
            {"pooled": False, "flat": False},
            r"the output of .* is float32 \[1, 7, 32, 32\]",
        ),
    ],
)
def test_files_that_are_no_image_classifiers(
    shape: list[int | str],
    dtype: str,
    options: dict[str, bool],
    message: str,
    converted: bool,
    tmp_path: Path,
) -> None:
    path = foreign(tmp_path, shape, dtype, **options)
    path = as_openvino(path) if converted else path
    content = opening.read_model_files(path)
    with pytest.raises(ModelFileError, match=message):  # as the child process would
        opening._blank_run(opening.create_runner(path, *content, threads=1))


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 48)])
def test_sizes_that_the_description_does_not_fit(height: int, width: int, tmp_path: Path) -> None:
    path = foreign(tmp_path, [1, 3, height, width])
    with pytest.raises(ModelFileError, match=f"takes {height} x {width} pixels but .* 32 x 32"):
        open_file(path, preprocess=Preprocess(32, 1.0))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float32", [1, 1, 32, 32]),  # grey
        ("float32", [1, 32, 32, 4]),
        ("float32", [3, 32, 32]),
        ("float32", [1, 3, 3, 32, 32]),
        ("float32", []),
        ("float32", [1, "h", "w", 3]),
        ("float16", [1, 3, 32, 32]),
    ],
)
def test_inputs_that_are_no_image(dtype: str, shape: list[object]) -> None:
    with pytest.raises(ModelFileError, match=r"the input of net\.onnx"):
        input_spec("net.onnx", dtype, shape)


def test_two_inputs(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="has 2 inputs; an image classifier has one"):
        open_file(foreign(tmp_path, [1, 3, 32, 32], inputs=2), preprocess=Preprocess(32, 1.0))
