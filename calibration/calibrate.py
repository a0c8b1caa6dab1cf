"""Post-training quantization: calibration statistics, quantization parameters, then layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.activations.quantizers import channels_to_sample, choose_quant_params
from edge_effnet.calibration.activations.statistics import CalibrationStatistics, collect_statistics
from edge_effnet.calibration.engine import Engine, on_one_blas_thread
from edge_effnet.calibration.passes.channel_groups import divide_channels
from edge_effnet.calibration.passes.prepare import PreparedModel, prepare
from edge_effnet.calibration.plan import QuantizerPlacement, QuantParams, QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.recipes import Recipe, get
from edge_effnet.calibration.samples.photos import MOST_PHOTOS, Samples
from edge_effnet.calibration.sensitivity.clipping_ranges import refine_ranges
from edge_effnet.calibration.sensitivity.measure import Sensitivity, sensitivities
from edge_effnet.calibration.sensitivity.mixed_precision import (
    layers_for_drop,
    layers_within_budget,
)
from edge_effnet.calibration.weights.propagation import PropagatedTensors
from edge_effnet.calibration.weights.reconstruction import Method
from edge_effnet.calibration.weights.sequential import correct_biases, quantize_layers
from edge_effnet.card import ModelInfo
from edge_effnet.graph import Activation
from edge_effnet.model import Model
from edge_effnet.progress import Progress, ignore_progress


@on_one_blas_thread
def calibrate(
    model: Model | PreparedModel,
    samples: Samples,
    engine: Engine,
    *,
    recipe: str | Recipe = "default",
    avx2_safe: bool = True,
    progress: Progress = ignore_progress,
    per_tensor: bool = False,
    max_drop: float | None = None,
    contrib_ops: bool = False,
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
        contrib_ops: Whether biases are also corrected for .onnx files with QuickGelu.

    Returns:
        The prepared network with its `QuantPlan`.

    Raises:
        QuantizationError: Weights or tensors are not finite, or a node has no int8 form.
        UsageError: The recipe is unknown.
    """
    calibration, plan = _calibrated(
        model, samples, engine, recipe, avx2_safe, progress, per_tensor, contrib_ops
    )
    if max_drop is not None:
        measured = calibration.sensitivities(plan, progress)
        float_layers = layers_for_drop(calibration.model.graph, measured, max_drop)
        plan = calibration.quantize(progress, float_layers) if float_layers else plan
    return QuantizedModel(calibration.model, plan, calibration.info)


@on_one_blas_thread
def calibrate_mixed(
    model: Model | PreparedModel,
    samples: Samples,
    engine: Engine,
    *,
    float_budget: float,
    recipe: str | Recipe = "default",
    avx2_safe: bool = True,
    progress: Progress = ignore_progress,
    contrib_ops: bool = False,
) -> tuple[QuantizedModel, QuantizedModel]:
    """Quantize a network to int8, and again with the noisiest layers in float.

    Args:
        model: The float network.
        samples: Calibration samples.
        engine: Compiles the network.
        float_budget: Largest share of the multiply-adds in float, in percent.
        recipe: Name of a recipe, or the recipe itself.
        avx2_safe: As in `calibrate`.
        progress: Called with (step, done, total).
        contrib_ops: As in `calibrate`.

    Returns:
        The network in int8, and in mixed precision: the same if no layer fits the budget.

    Raises:
        QuantizationError: Weights or tensors are not finite, or a node has no int8 form.
        UsageError: The recipe is unknown.
    """
    calibration, plan = _calibrated(
        model, samples, engine, recipe, avx2_safe, progress, contrib_ops=contrib_ops
    )
    measured = calibration.sensitivities(plan, progress)
    float_layers = layers_within_budget(calibration.model.graph, measured, float_budget)
    mixed = calibration.quantize(progress, float_layers) if float_layers else plan
    return (
        QuantizedModel(calibration.model, plan, calibration.info),
        QuantizedModel(calibration.model, mixed, calibration.info),
    )


def _calibrated(
    model: Model | PreparedModel,
    samples: Samples,
    engine: Engine,
    recipe: str | Recipe,
    avx2_safe: bool,
    progress: Progress,
    per_tensor: bool = False,
    contrib_ops: bool = False,
) -> tuple[Calibration, QuantPlan]:
    """The inputs of sequential quantization, and the plan with all layers in int8."""
    chosen = get(recipe) if isinstance(recipe, str) else recipe
    prepared = model if isinstance(model, PreparedModel) else prepare(model, equalized=per_tensor)
    if chosen.channel_groups and not per_tensor:
        prepared = divide_channels(prepared, samples.pixels, engine)
    model, common = prepared.reference, prepared.model
    statistics = collect_statistics(
        model,
        samples.pixels,
        engine,
        partial(progress, "collect statistics"),
        target_samples=MOST_PHOTOS,
        positions=chosen.positions,
        channel_tensors=channels_to_sample(model.graph),
    )
    method = replace(chosen.method, per_tensor=per_tensor)
    quant_params = choose_quant_params(common, statistics, chosen.ranges)
    statistics = replace(statistics, channel_values={})  # frees memory
    if chosen.refined_ranges:
        fused_gates = fusable_gates(common.graph) if chosen.fused_gates else frozenset()
        quant_params = refine_ranges(
            common, quant_params, engine, samples.pixels, fused_gates,
            partial(progress, "refine ranges"),
        )  # fmt: skip
    calibration = Calibration(
        common, model.info, samples, engine, statistics, quant_params, method, chosen, avx2_safe,
        contrib_ops,
    )  # fmt: skip
    return calibration, calibration.quantize(progress)


@on_one_blas_thread
def correct_openvino_biases(
    quantized: QuantizedModel, plan: QuantPlan, samples: Samples, engine: Engine, progress: Progress
) -> QuantPlan:
    """A plan whose weights were trained, with biases for OpenVINO files.

    Args:
        quantized: The calibrated network, to whose float channel means the biases are corrected.
        plan: The trained plan.
        samples: Calibration samples.
        engine: Compiles the network.
        progress: Called with (step, done, total).

    Returns:
        The plan with biases for OpenVINO; ``plan`` itself if all activations clip.
    """
    recipe = get(plan.recipe)
    statistics = collect_statistics(
        quantized.model,
        samples.pixels,
        engine,
        partial(progress, "collect statistics"),
        target_samples=MOST_PHOTOS,
        positions=recipe.positions,
    )
    calibration = Calibration(
        quantized.model,
        quantized.info,
        samples,
        engine,
        statistics,
        plan.quant_params,
        recipe.method,
        recipe,
        plan.avx2_safe,
    )
    return calibration.with_biases_for("openvino", plan, progress)


@dataclass(frozen=True)
class Calibration:
    """The inputs of sequential quantization, which `quantize` runs.

    For mixed precision, `quantize` runs a second time, with the float layers.
    """

    model: Model
    info: ModelInfo
    samples: Samples
    engine: Engine
    statistics: CalibrationStatistics
    quant_params: Mapping[str, QuantParams]
    method: Method
    recipe: Recipe
    avx2_safe: bool
    contrib_ops: bool = False

    def quantize(self, progress: Progress, float_layers: frozenset[str] = frozenset()) -> QuantPlan:
        """Quantize the layers in order, except the nodes ``float_layers``, which stay in float.

        The inputs of each layer are computed as in the kernels of TFLite and ONNX Runtime. If
        OpenVINO's quantizer placement differs, a second pass corrects the biases of its files.
        With ``contrib_ops`` another pass corrects those of .onnx files with QuickGelu.
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
        plan = self.with_biases_for("openvino", plan, progress)
        return self.with_biases_for("onnx-contrib", plan, progress) if self.contrib_ops else plan

    def sensitivities(self, plan: QuantPlan, progress: Progress) -> tuple[Sensitivity, ...]:
        """The noise of each unit in ``plan``, which has all layers in int8."""
        return sensitivities(
            self.model,
            plan,
            self.engine,
            self.samples.pixels,
            partial(progress, "measure sensitivities"),
        )

    def with_biases_for(
        self, placement: QuantizerPlacement, plan: QuantPlan, progress: Progress
    ) -> QuantPlan:
        """The plan with biases for another placement; ``plan`` itself if all activations clip."""
        if all(node.kind in CLIPS for node in self.model.graph if isinstance(node, Activation)):
            return plan
        # OpenVINO files have no fused sigmoid gating.
        fused_gates: frozenset[str] = frozenset()
        if placement != "openvino":
            fused_gates = plan.fused_gates
        biases = correct_biases(
            self._tensors(placement, plan.float_layers, fused_gates),
            self.statistics,
            self.method,
            plan,
            partial(progress, "correct biases"),
        )
        return replace(plan, biases={**plan.biases, placement: biases})

    def _tensors(
        self,
        placement: QuantizerPlacement,
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
