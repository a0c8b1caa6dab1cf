"""The gate: what counts as collapsed, and what is said then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge_effnet
from edge_effnet.calibration.fidelity import LEAST_AGREEMENT, Fidelity, compare
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.card import CalibrationRecord
from edge_effnet.errors import QuantizationError
from edge_effnet.model import Model
from support import tflite_models as small


def logits(answers: list[int], classes: int = 5) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[answers] * 10


def test_figures_of_known_logits() -> None:
    reference = logits([0, 1, 2, 3])
    quantized = logits([0, 1, 2, 4])
    found = compare(reference, quantized)
    assert (found.agreement, found.samples) == (0.75, 4)
    assert found.sqnr_db == pytest.approx(10 * np.log10(400 / 200))


def test_equal_logits_are_perfect() -> None:
    found = compare(logits([0, 1, 2]), logits([0, 1, 2]))
    assert found.agreement == 1
    assert found.sqnr_db > 200
    assert not found.collapsed


@pytest.mark.parametrize(
    ("hits", "samples", "upper"),
    [(5, 10, 0.7634), (0, 10, 0.2775), (8, 10, 0.9433), (10, 10, 1.0), (81, 263, 0.3662)],
)
def test_the_interval_is_wilsons(hits: int, samples: int, upper: float) -> None:
    """Newcombe 1998 and any textbook: the 95 % score interval's upper end."""
    fidelity = Fidelity(hits / samples, 20.0, samples)
    assert fidelity.agreement_upper == pytest.approx(upper, abs=6e-5)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_upper_end_lies_above_and_within_one(samples: int, share: float) -> None:
    fidelity = Fidelity(share, 20.0, samples)
    assert share - 1e-12 <= fidelity.agreement_upper <= 1


@pytest.mark.parametrize(
    ("agreement", "samples", "collapsed"),
    [
        (0.99, 128, False),
        (0.86, 128, False),  # 0.9 is still within the interval
        (0.80, 128, True),
        (0.80, 10, False),  # ten samples prove nothing
        (0.001, 8, True),
        (0.89, 10_000, True),
        (0.91, 10_000, False),
    ],
)
def test_few_samples_get_the_benefit_of_the_doubt(
    agreement: float, samples: int, collapsed: bool
) -> None:
    fidelity = Fidelity(agreement, 20.0, samples)
    assert fidelity.collapsed is collapsed
    assert (fidelity.agreement_upper < LEAST_AGREEMENT) is collapsed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_a_collapse(value: float) -> None:
    quantized = logits([0, 1, 2])
    quantized[1, 3] = value
    with np.errstate(all="ignore"):
        assert compare(logits([0, 1, 2]), quantized).collapsed


def test_constant_logits_are_a_collapse() -> None:
    reference = logits(list(range(5)) * 20)
    assert compare(reference, np.zeros_like(reference)).collapsed


def test_the_refusal_says_what_to_do() -> None:
    refusal = Fidelity(0.123, 3.21, 100).refusal("lite0-int8.onnx", "lite0")
    assert isinstance(refusal, QuantizationError)
    text = str(refusal)
    assert text.startswith("lite0-int8.onnx was not written: its top-1 agreement")
    for part in (
        "12.3%",
        "100 calibration samples",
        "3.2 dB",
        "fp16",
        "recipe='best'",
        "force=True",
    ):
        assert part in text
    assert "analyze" not in text
    named = str(Fidelity(0.1, 3.2, 100).refusal("lite0-int8.onnx", "lite0", "stem.conv (1.0 dB)"))
    for part in ("most noise: stem.conv (1.0 dB);", "'edge-effnet analyze lite0'", "max_drop="):
        assert part in named


def collapsing(pictures: np.ndarray) -> Model:
    """One channel of a block's output is a million times larger, which its readers undo.

    The logits' means are taken off, so that the pictures get different answers.
    """
    from edge_effnet.converters.onnx_engine import OnnxEngine

    model = small.model_of(small.LITE)
    graph, output = model.graph, model.graph.output
    weights = {name: values.copy() for name, values in model.weights.items()}
    values = model.info.preprocess.normalise(pictures).transpose(0, 3, 1, 2)
    run = OnnxEngine(1).compile_float(graph, weights, [output])
    weights[f"{output}.bias"] -= run(np.ascontiguousarray(values))[output].mean(axis=0)
    for part in ("weight", "bias"):
        weights[f"{LOUD}.{part}"][0] *= 1e6
    for reader in graph.consumers[LOUD]:
        weights[f"{reader.name}.weight"][:, 0] /= 1e6
    return replace(model, weights=weights)


LOUD = "stages.0.blocks.0.project"


def test_a_collapsed_file_is_refused_and_names_its_layers(tmp_path: Path) -> None:
    for module in ("onnxruntime", "onnx"):
        pytest.importorskip(module, reason="exporting needs the extra 'export'")
    pictures = np.stack(small.photos(24))
    model = collapsing(pictures)
    options = {
        "formats": ["onnx"],
        "precisions": ["int8"],
        "calibration": Samples(pictures, CalibrationRecord(24, 24, "")),
        "out": tmp_path,
    }
    with pytest.raises(QuantizationError, match=f"most noise: {LOUD} ") as caught:
        edge_effnet.export(model, **options, notify=lambda text: None)
    assert "edge-effnet analyze tiny-lite" in str(caught.value)
    assert not list(tmp_path.iterdir())
    said: list[str] = []
    (path,) = edge_effnet.export(model, **options, force=True, notify=said.append)
    quantization = edge_effnet.open(path).card.quantization
    assert quantization is not None
    assert quantization.forced
    assert any("forced" in text for text in said)
