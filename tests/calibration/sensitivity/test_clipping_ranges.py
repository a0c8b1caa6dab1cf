"""The chosen clipping ranges lower the noise on the logits, which is computed here a second way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.activations.quantizers import constrained
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.calibration.plan import QuantParams
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.sensitivity.measure import bias_corrected
from edge_effnet.graph import Graph, MaxPool
from edge_effnet.model import Model
from support import tflite_models as small

pytest.importorskip("onnxruntime", reason="networks are run by the extra 'export'")
pytest.importorskip("onnx", reason="networks are run by the extra 'export'")

from edge_effnet.calibration.sensitivity import clipping_ranges
from edge_effnet.calibration.sensitivity.clipping_ranges import refine_ranges
from edge_effnet.converters.onnx_engine import OnnxEngine

ENGINE = OnnxEngine(1)
PIXELS = np.stack(small.photos(12))
#: The swish network, and the tensors of its units whose ranges are chosen by the logits.
NETWORK = share_input_normalization(small.model_of(small.SWISH))
RANGES = dict(small.min_max_plan(small.model_of(small.SWISH), small.photos(12)).quant_params)


def scaled(name: str, factor: float) -> dict[str, QuantParams]:
    """The ranges of all tensors; that of ``name`` is multiplied by ``factor``."""
    params = RANGES[name]
    return {**RANGES, name: QuantParams.of_range(params.low, params.high * factor)}


def noise(model: Model, params: QuantParams, name: str) -> float:
    """Noise / signal energy of the logits if only ``name`` is quantized and bias-corrected."""
    graph = model.graph
    last = [node.name for node in graph].index(name) + 1
    head = Graph(graph.input, graph.shapes[graph.input], graph.nodes[:last])
    values = model.info.preprocess.normalise(PIXELS).transpose(0, 3, 1, 2)
    batch = np.ascontiguousarray(values, np.float32)
    exact = ENGINE.compile_float(head, model.weights, [name])(batch)[name]
    rounded = bias_corrected(params.dequantize(params.quantize(exact)), exact)
    rest = ENGINE.compile_float(
        Graph(name, graph.shapes[name], graph.nodes[last:]), model.weights, [graph.output]
    )
    logits, changed = rest(exact)[graph.output], rest(rounded)[graph.output]
    return float(np.square(changed - logits).sum() / np.square(logits).sum())


def refined(
    model: Model, params: dict[str, QuantParams], gates: frozenset[str] = frozenset()
) -> dict[str, QuantParams]:
    return refine_ranges(model, params, ENGINE, PIXELS, gates, lambda done, total: None)


@pytest.fixture
def _all_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The range of every swish output and squeeze-excite product is searched."""
    monkeypatch.setattr(clipping_ranges, "_NOISY", 0.0)


@pytest.mark.usefixtures("_all_noisy")
@pytest.mark.parametrize("factor", [0.3, 6.0])
def test_a_range_that_clips_or_is_too_coarse_is_mended(factor: float) -> None:
    """The stem's output is the only tensor between the first layers and the rest."""
    wrong = scaled("stem.act", factor)
    mended = refined(NETWORK, wrong)["stem.act"]
    assert noise(NETWORK, mended, "stem.act") < 0.6 * noise(NETWORK, wrong["stem.act"], "stem.act")


def test_ranges_of_quiet_tensors_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipping_ranges, "_NOISY", 1e9)
    assert refined(NETWORK, RANGES) == constrained(NETWORK.graph, RANGES)


def test_networks_without_smooth_activations_are_not_measured() -> None:
    """ReLU6 clips at fixed limits, so Lite networks keep their quantization parameters."""
    model = share_input_normalization(small.model_of(small.LITE))
    ranges = small.min_max_plan(small.model_of(small.LITE), small.photos(4)).quant_params

    def measured(done: int, total: int) -> None:
        raise AssertionError("a segment was measured")

    assert refine_ranges(model, ranges, ENGINE, PIXELS, (), measured) == ranges


@pytest.mark.usefixtures("_all_noisy")
def test_a_coarse_product_with_fused_sigmoid_gating_is_mended() -> None:
    gates = fusable_gates(NETWORK.graph)
    name = min(gates)
    wrong = scaled(name, 30.0)
    mended = refined(NETWORK, wrong, gates)
    assert mended[name].high < wrong[name].high
    assert mended.keys() == RANGES.keys()


@pytest.mark.usefixtures("_all_noisy")
def test_the_result_is_the_same_on_any_number_of_threads() -> None:
    wrong = scaled("stem.act", 6.0)
    alone = refined(NETWORK, wrong)
    together = refine_ranges(NETWORK, wrong, OnnxEngine(2), PIXELS, (), lambda done, total: None)
    assert alone == together


@pytest.mark.usefixtures("_all_noisy")
def test_a_max_pool_after_a_searched_tensor_has_its_parameters() -> None:
    """int8 max pools require equal parameters of input and output."""
    graph = NETWORK.graph
    last = [node.name for node in graph].index("stem.act") + 1
    pool = MaxPool(name="pool", inputs=("stem.act",), kernel=2, stride=2)
    pooled = Graph(graph.input, graph.shapes[graph.input], (*graph.nodes[:last], pool))
    names = [graph.input, *(node.name for node in pooled if node.name in RANGES)]
    wrong = scaled("stem.act", 6.0)
    ranges = {name: wrong[name] for name in names} | {"pool": wrong["stem.act"]}
    chosen = refined(replace(NETWORK, graph=pooled), ranges)
    assert chosen["stem.act"] != ranges["stem.act"]
    assert chosen["pool"] == chosen["stem.act"]
