"""Formats beside the three: what is written, what is left out, what is missing.

What the files compute is tested where the libraries that run them are: tests/clients.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import CalibrationRecord, ModelCard, Quantization
from edge_effnet.converters.formats import further, ncnn
from edge_effnet.converters.formats.further import FURTHER, Int8Source
from edge_effnet.errors import MissingExtra, QuantizationError, UsageError
from edge_effnet.formats import FORMATS
from edge_effnet.graph import Add, Conv, GlobalAveragePool, Graph
from edge_effnet.heads import (
    Function,
    Head,
    Layer,
    Linear,
    Normalization,
    Pooling,
    attach,
    cosine,
    trunk,
)
from edge_effnet.model import Model
from edge_effnet.names import FormatName
from edge_effnet.variants import ActivationKind
from support import tflite_models as small
from support.command import call

PACKAGES = {"coreml": "coremltools", "executorch": "executorch"}


@pytest.fixture(
    params=[small.LITE, small.SWISH, small.HARD_SWISH], ids=["lite", "swish", "hard-swish"]
)
def model(request: pytest.FixtureRequest) -> Model:
    return small.model_of(request.param)


def test_ncnn_layers_and_numbers(model: Model, tmp_path: Path) -> None:
    """Every blob is made once and read at most once; the numbers are all there."""
    (file,) = edge_effnet.export(model, formats=["ncnn"], precisions=["fp32"], out=tmp_path)
    magic, counts, *lines = file.read_text().splitlines()
    made, read = [], []
    for line in lines:
        _, _, inputs, outputs, *rest = line.split()
        read += rest[: int(inputs)]
        made += rest[int(inputs) : int(inputs) + int(outputs)]
    assert magic == "7767517"
    assert counts == f"{len(lines)} {len(made)}"
    assert len(set(made)) == len(made)
    assert set(made) - set(read) == {"logits"}
    assert len(set(read)) == len(read)
    folded = fold_batch_norm(model)
    weighted = sum(name.endswith(".weight") for name in folded.weights)
    numbers = sum(values.nbytes for values in folded.weights.values())
    assert file.with_suffix(".bin").stat().st_size == numbers + 4 * weighted


def test_ncnn_half_and_card(model: Model, tmp_path: Path) -> None:
    full, half = edge_effnet.export(
        model, formats=["ncnn"], precisions=["fp32", "fp16"], out=tmp_path
    )
    assert full.read_text() == half.read_text()
    sizes = [file.with_suffix(".bin").stat().st_size for file in (full, half)]
    assert 0.45 < sizes[1] / sizes[0] < 0.65
    card = ModelCard.from_json(half.with_suffix(".json").read_text())
    assert card == model.info.card(precision="fp16")


def with_head(layers: tuple[Layer, ...], pooling: Pooling = "avg") -> Model:
    """A tiny network with a head of 4 outputs."""
    base = small.model_of(small.LITE)
    kept = {n: v for n, v in base.weights.items() if not n.startswith("classifier")}
    graph, weights = attach(trunk(base.graph), kept, Head(layers, pooling))
    return replace(
        base, graph=graph, weights=weights, info=replace(base.info, labels=tuple("abcd"))
    )


def linear(outputs: int, inputs: int) -> Linear:
    return Linear(np.ones((outputs, inputs), np.float32), np.zeros(outputs, np.float32))


CHANNELS = len(small.model_of(small.LITE).weights["classifier.weight"][0])


@pytest.mark.parametrize("kind", get_args(ActivationKind))
def test_every_activation_of_a_head_is_an_ncnn_layer(kind: ActivationKind, tmp_path: Path) -> None:
    norm = Normalization(np.ones(CHANNELS), np.zeros(CHANNELS), 1e-3)
    model = with_head((norm, linear(8, CHANNELS), Function(kind), linear(4, 8)), "max")
    (file,) = edge_effnet.export(model, formats=["ncnn"], precisions=["fp32"], out=tmp_path)
    layers = [line.split()[0] for line in file.read_text().splitlines()[2:]]
    assert layers[-5:-3] == ["Pooling", "LayerNorm"]
    assert layers[-3] == layers[-1] == "InnerProduct"
    assert layers[-2] in {"ReLU", "Clip", "Swish", "Sigmoid", "TanH", "GELU", "HardSwish"}


@pytest.mark.parametrize("formats", [["ncnn"], ["tflite", "ncnn"], ["onnx", "openvino", "ncnn"]])
def test_a_cosine_head_is_refused_by_name(formats: list[FormatName], tmp_path: Path) -> None:
    model = with_head(cosine(np.ones((4, CHANNELS)), 30.0))
    with pytest.raises(UsageError, match=r"ncnn has no form of .*\(LayerNorm\)"):
        edge_effnet.export(model, formats=formats, precisions=["fp32"], out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tflite", "onnx", "openvino", "ncnn"])
def test_a_weight_beyond_float16_is_refused_before_fp32_is_written(
    name: FormatName, tmp_path: Path
) -> None:
    model = with_head((linear(8, CHANNELS), Linear(np.full((4, 8), 7e4), np.zeros(4))))
    with pytest.raises(QuantizationError, match=r"classifier.weight has values beyond float16"):
        edge_effnet.export(model, formats=[name], precisions=["fp32", "fp16"], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_model_gives_the_same_bytes(model: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        edge_effnet.export(model, formats=["ncnn"], precisions=["fp16"], out=tmp_path / name)
    files = [sorted((tmp_path / name).iterdir()) for name in ("a", "b")]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_beside_the_three(tmp_path: Path) -> None:
    model = small.model_of(small.LITE)
    paths = edge_effnet.export(model, formats=["ncnn", "tflite"], precisions=["fp32"], out=tmp_path)
    assert [path.name for path in paths] == ["tiny-lite-fp32.tflite", "tiny-lite-fp32.ncnn.param"]


def test_the_command_counts_all_parts_of_a_file_of_any_name(tmp_path: Path) -> None:
    line = ["export", "lite0", "--weights", "random", "--resolution", "32", "--force"]
    line += ["--formats", "ncnn", "--precisions", "fp32", "--name", "net[1]", "--out", tmp_path]
    done = call(*line, "--json", "-")
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert file["size_bytes"] == sum(part.stat().st_size for part in tmp_path.iterdir()) > 1e6


def test_a_precision_that_a_format_lacks_is_left_out_aloud(tmp_path: Path) -> None:
    said: list[str] = []
    model = small.model_of(small.LITE)
    (path,) = edge_effnet.export(model, formats=["ncnn"], out=tmp_path, notify=said.append)
    assert path.name == "tiny-lite-fp32.ncnn.param"
    assert said == ["ncnn files come in fp32, fp16: int8 is left out"]


@pytest.mark.parametrize(
    "name", [name for name in FURTHER if "int8" not in FORMATS[name].precisions]
)
def test_int8_alone_is_refused(name: str, tmp_path: Path) -> None:
    model = small.model_of(small.LITE)
    with pytest.raises(UsageError, match=f"no int8 for {name}; choose precisions= from fp32"):
        edge_effnet.export(model, formats=[name], precisions=["int8"], out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_before_anything_is_written(name: str, tmp_path: Path) -> None:
    if find_spec(PACKAGES[name]) is not None:
        pytest.skip(f"{PACKAGES[name]} is installed")
    model = small.model_of(small.LITE)
    with pytest.raises(MissingExtra, match=rf"pip install .*\[{name}\]'"):
        edge_effnet.export(model, formats=["tflite", name], precisions=["fp32"], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_reader_of_a_tensor_has_one_blob(tmp_path: Path) -> None:
    """A sum that reads a tensor twice, and another reader: three blobs."""
    conv = Conv(name="conv", inputs=("image",), channels=4, kernel=1, bias=True)
    twice = Add(name="twice", inputs=("conv", "conv"))
    thrice = Add(name="thrice", inputs=("twice", "conv"))
    pool = GlobalAveragePool(name="pool", inputs=("thrice",))
    model = small.random_model(small.LITE, Graph("image", (3, 8, 8), (conv, twice, thrice, pool)))
    ncnn.write(model, model.info.card(), tmp_path)
    lines = (tmp_path / "model.ncnn.param").read_text("utf-8").splitlines()
    assert "Split conv.split 1 3 conv conv.0 conv.1 conv.2" in lines


@pytest.mark.parametrize("force", [False, True])
def test_the_card_of_a_forced_file_says_so(
    force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer whose simulation predicts wrongly, in place of a toolchain's."""
    model = small.model_of(small.LITE)
    pixels = np.stack(small.photos(small.CLASSES))
    samples = Samples(pixels, CalibrationRecord(len(pixels), len(pixels), ""))
    logits = np.eye(small.CLASSES, dtype=np.float32)

    def write_int8(source: Int8Source, card: ModelCard, folder: Path) -> np.ndarray:
        assert not list(folder.iterdir())
        for suffix in FORMATS["rknn"].suffixes:
            (folder / f"model{suffix}").write_text(card.to_json(), "utf-8")
        (folder / "compiled").mkdir()
        return -logits

    writer = SimpleNamespace(write_int8=write_int8, quantization=lambda _: Quantization("q", "r"))
    monkeypatch.setattr(further, "import_module", lambda name: writer)
    said: list[str] = []
    source = Int8Source(
        model, samples, lambda: pytest.fail("no plan"), lambda *step: None, said.append
    )
    save = partial(
        further.save_int8, source, ["rknn"], tmp_path, lambda _: logits, name=None, say=said.append
    )
    if not force:
        with pytest.raises(QuantizationError, match=r"tiny-lite-int8.rk3588.rknn was not written"):
            save(force=False)
        assert not list(tmp_path.iterdir())
        return
    (path,) = save(force=True)
    card = ModelCard.from_json(path.read_text("utf-8"))
    assert card.quantization == Quantization("q", "r", forced=True)
    assert said == ["tiny-lite-int8.rk3588.rknn collapsed (0.0% agreement): forced"]
    assert len(list(tmp_path.iterdir())) == len(FORMATS["rknn"].suffixes)
