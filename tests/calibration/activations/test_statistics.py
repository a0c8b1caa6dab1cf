"""Calibration statistics: NaN and infinite tensors are refused, and memory is bounded."""

from __future__ import annotations

import math

import pytest

from edge_effnet.calibration import segments
from edge_effnet.calibration.activations import statistics
from edge_effnet.calibration.activations.quantizers import channels_to_sample
from edge_effnet.calibration.activations.statistics import collect_statistics
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv
from support import tflite_models as small
from support.small_plans import COUNT, overflowing, samples_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")
from edge_effnet.converters.onnx_engine import OnnxEngine


def test_a_tensor_that_overflows_is_named() -> None:
    """A histogram would double its limit without end."""
    name = "stages.1.blocks.0.project"
    with pytest.raises(QuantizationError, match=f"the tensor {name} holds NaN or infinite values"):
        collect_statistics(overflowing(name), samples_of(4).pixels, OnnxEngine(1))


def test_samples_are_skipped_where_channels_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second sample is used; a run on a single unused sample must not fail."""
    model = small.model_of(small.SWISH)
    names = channels_to_sample(model.graph)
    channels = sum(model.graph.shapes[name][0] for name in names)
    monkeypatch.setattr(statistics, "_MOST_VALUES", channels * COUNT // 2)
    monkeypatch.setattr(segments, "PART_BYTES", 1)
    values = collect_statistics(
        model, samples_of().pixels, OnnxEngine(1), channel_tensors=names
    ).channel_values
    assert {name: value.shape for name, value in values.items()} == {
        name: (model.graph.shapes[name][0], COUNT // 2) for name in names
    }


def test_wide_layers_have_fewer_positions_where_targets_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = small.model_of(small.SWISH)

    def positions() -> dict[str, int]:
        targets = collect_statistics(model, samples_of().pixels, OnnxEngine(1)).targets
        return {name: values.shape[1] for name, values in targets.items()}

    usual = positions()
    monkeypatch.setattr(statistics, "_MOST_TARGETS", 1)
    fewest = positions()
    for node in model.graph:
        if not isinstance(node, Conv):
            continue
        outputs, *inputs = model.weights[f"{node.name}.weight"].shape
        count = math.prod(inputs)
        if node.depthwise or outputs <= count:
            assert fewest[node.name] == usual[node.name]
        else:
            assert min(usual[node.name], 2 * count) <= fewest[node.name] <= usual[node.name]
    assert sum(fewest.values()) < sum(usual.values())
