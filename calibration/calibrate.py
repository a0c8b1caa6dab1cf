"""Post-training quantization: calibration statistics, quantization parameters, then layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.activations.quantizers import channels_to_sample, choose_quant_params
from edge_effnet.calibration.activations.statistics import CalibrationStatistics, collect_statistics
from edge_effnet.calibration.engine import Engine, on_one_blas_thread
from edge_effnet.calibration.passes.prepare import PreparedModel, prepare
from edge_effnet.calibration.plan import Placement, QuantParams, QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.recipes import Recipe, get
from edge_effnet.calibration.samples.photos import MOST_PHOTOS, Samples
from edge_effnet.calibration.sensitivity.mixed_precision import mixed_precision_plan
from edge_effnet.calibration.weights.propagation import PropagatedTensors
from edge_effnet.calibration.weights.reconstruction import Method
from edge_effnet.calibration.weights.sequential import correct_biases, quantize_layers
from edge_effnet.graph import Activation
from edge_effnet.model import Model
from edge_effnet.progress import Progress


@on_one_blas_thread
def calibrate(
    model: Model | PreparedModel,
    samples: Samples,
    engine: Engine,
    *,
    recipe: str | Recipe = "default",
    avx2_safe: bool = True,
    progress: Progress | None = None,
    per_tensor: bool = False,
    max_drop: float | None = None,
) -> QuantizedModel:
    """Quantize a network to int8 weights and activations.

    Args:
        model: The float network.
        samples: Calibration samples.
        engine: Compiles the network.
        recipe: Name of a recipe, or the recipe itself.
        avx2_safe: Whether weights obey the pair rule of `calibration.weights.gptq`, so that x86
            CPUs without VNNI do not saturate.
        progress: Called with (step, done, total).
        per_tensor: Whether each layer has one weight scale instead of one per output channel.
        max_drop: Largest expected loss of top-1 accuracy in points; layers stay in float to meet
            this limit (`calibration.sensitivity.mixed_precision`). None keeps no layer in float.

    Returns:
        The prepared network with its `QuantPlan`.

    Raises:
        QuantizationError: Weights are not finite, or a node has no int8 form.
        UsageError: The recipe is unknown.
    """
    chosen = get(recipe) if isinstance(recipe, str) else recipe
    report = progress or (lambda step, done, total: None)
    prepared = model if isinstance(model, PreparedModel) else prepare(model, equalized=per_tensor)
    model, common = prepared.reference, prepared.model
    statistics = collect_statistics(
        model,
        samples.pixels,
        engine,
        partial(report, "collect statistics"),
        target_samples=MOST_PHOTOS,
        positions=chosen.positions,
        channel_tensors=channels_to_sample(model.graph),
    )
    method = replace(chosen.method, per_tensor=per_tensor)
    quant_params = choose_quant_params(common, statistics, chosen.ranges)
    statistics = replace(statistics, channel_values={})  # frees memory
    calibration = Calibration(
        common, samples, engine, statistics, quant_params, method, chosen, avx2_safe
    )
    plan = calibration.quantize(report)
    if max_drop is not None:
        plan = mixed_precision_plan(
            common,
            plan,
            engine,
            samples.pixels,
            max_drop,
            partial(calibration.quantize, report),
            partial(report, "measure sensitivities"),
        )
    return QuantizedModel(common, plan, model.info)


@on_one_blas_thread
def correct_openvino_biases(
    model: Model, plan: QuantPlan, samples: Samples, engine: Engine, progress: Progress
) -> QuantPlan:
    """A plan whose weights were trained, with biases for OpenVINO files.

    Args:
        model: The float network, to whose channel means the biases are corrected.
        plan: The trained plan.
        samples: Calibration samples.
        engine: Compiles the network.
        progress: Called with (step, done, total).

    Returns:
        The plan with biases for OpenVINO; ``plan`` itself if all activations clip.
    """
    recipe, prepared = get(plan.recipe), prepare(model, equalized=plan.per_tensor)
    statistics = collect_statistics(
        prepared.reference,
        samples.pixels,
        engine,
        partial(progress, "collect statistics"),
        target_samples=MOST_PHOTOS,
        positions=recipe.positions,
    )
    calibration = Calibration(
        prepared.model,
        samples,
        engine,
        statistics,
        plan.quant_params,
        recipe.method,
        recipe,
        plan.avx2_safe,
    )
    return calibration.with_openvino_biases(plan, progress)


@dataclass(frozen=True)
class Calibration:
    """The inputs of sequential quantization, which `quantize` runs.

    For mixed precision, `quantize` runs a second time, with the float layers.
    """

    model: Model
    samples: Samples
    engine: Engine
    statistics: CalibrationStatistics
    quant_params: Mapping[str, QuantParams]
    method: Method
    recipe: Recipe
    avx2_safe: bool

    def quantize(self, progress: Progress, float_layers: frozenset[str] = frozenset()) -> QuantPlan:
        """Quantize the layers in order, except the nodes ``float_layers``, which stay in float.

        The inputs of each layer are computed as in the kernels of TFLite and ONNX Runtime. If
        OpenVINO's quantizer placement differs, a second pass corrects the biases of its files.
        """
        fused_gates: frozenset[str] = frozenset()
        if self.recipe.fused_gates:
            fused_gates = fusable_gates(self.model.graph, float_layers)
        layers, weights = quantize_layers(
            self._tensors("tflite", float_layers, fused_gates),
            self.statistics,
            self.method,
            avx2_safe=self.avx2_safe,
            progress=partial(progress, "quantize"),
        )
        plan = QuantPlan(
            layers,
            self.quant_params,
            self.recipe.name,
            self.samples.record,
            self.avx2_safe,
            float_layers,
            weights,
            fused_gates=fused_gates,
        )
        return self.with_openvino_biases(plan, progress)

    def with_openvino_biases(self, plan: QuantPlan, progress: Progress) -> QuantPlan:
        """The plan with biases for OpenVINO files; ``plan`` itself if all activations clip."""
        if all(node.kind in CLIPS for node in self.model.graph if isinstance(node, Activation)):
            return plan
        biases = correct_biases(
            self._tensors("openvino", plan.float_layers),
            self.statistics,
            self.method,
            plan,
            partial(progress, "correct biases"),
        )
        return replace(plan, biases={"openvino": biases})

    def _tensors(
        self,
        placement: Placement,
        float_layers: frozenset[str],
        fused_gates: frozenset[str] = frozenset(),
    ) -> PropagatedTensors:
        return PropagatedTensors(
            self.model,
            self.engine,
            self.quant_params,
            self.samples.pixels[:MOST_PHOTOS],
            placement=placement,
            float_layers=float_layers,
            fused_gates=fused_gates,
        )
