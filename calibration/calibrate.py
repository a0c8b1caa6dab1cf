"""Model + samples -> QuantPlan: observe the float network, choose grids, then walk the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.activations.quantizers import choose_quant_params, weighed
from edge_effnet.calibration.activations.statistics import CalibrationStatistics, collect_statistics
from edge_effnet.calibration.engine import Engine, on_one_blas_thread
from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.calibration.plan import Placement, QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.recipes import Recipe, get
from edge_effnet.calibration.samples.photos import MOST_PHOTOS, Samples
from edge_effnet.calibration.weights.reconstruction import Method
from edge_effnet.calibration.weights.sequential import Walk
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Activation
from edge_effnet.model import Model
from edge_effnet.progress import Progress


@on_one_blas_thread
def calibrate(
    model: Model,
    samples: Samples,
    engine: Engine,
    *,
    recipe: str | Recipe = "default",
    avx2_safe: bool = True,
    progress: Progress | None = None,
    per_tensor: bool = False,
    max_drop: float | None = None,
) -> QuantPlan:
    """The `QuantPlan` of ``model`` (BN folded) for ``samples``.

    ``avx2_safe`` applies the pair rule (see `calibration.weights.gptq`), ``per_tensor`` gives each
    layer one weight scale. ``max_drop``, in points of top-1, leaves in float what that takes
    (`calibration.sensitivity.mixed_precision`). Raises `QuantizationError` if the weights are not finite or a node has
    no quantized form, `UsageError` for an unknown ``recipe``.
    """
    chosen = get(recipe) if isinstance(recipe, str) else recipe
    _check_finite(model)
    say = progress or (lambda step, done, total: None)
    model = reuse_dead_channels(model)
    seen = collect_statistics(
        model,
        samples.pixels,
        engine,
        partial(say, "observe"),
        solved=MOST_PHOTOS,
        positions=chosen.positions,
        columns=weighed(model.graph),
    )
    common = share_input_normalization(model)
    method = replace(chosen.method, per_tensor=per_tensor)
    quant_params = choose_quant_params(common, seen, chosen.ranges)
    seen = replace(seen, columns={})  # read no more: memory
    calibration = Calibration(
        common, samples, engine, seen, quant_params, method, chosen, avx2_safe
    )
    plan = calibration.solve(say)
    if max_drop is not None:
        from edge_effnet.calibration.sensitivity.mixed_precision import mixed_precision_plan

        plan = mixed_precision_plan(calibration, plan, max_drop, say)
    return plan


@dataclass(frozen=True)
class Calibration:
    """What one look at the samples gives; the network can be solved from it more than once."""

    model: Model
    samples: Samples
    engine: Engine
    seen: CalibrationStatistics
    quant_params: Mapping[str, QuantParams]
    method: Method
    recipe: Recipe
    avx2_safe: bool

    def solve(self, progress: Progress, float_layers: frozenset[str] = frozenset()) -> QuantPlan:
        """Walk the network, leaving the nodes ``float_layers`` in float.

        Integers are found as TFLite's and ONNX Runtime's kernels compute; where OpenVINO's compute
        otherwise, a second walk finds the biases of its files.
        """
        walk = self._walk("tflite", float_layers, None, partial(progress, "quantize"))
        plan = QuantPlan(
            walk.layers,
            self.quant_params,
            self.recipe.name,
            self.samples.record,
            self.avx2_safe,
            float_layers,
            walk.weights,
            fused_gates=walk.fused_gates,
        )
        if all(node.kind in CLIPS for node in self.model.graph if isinstance(node, Activation)):
            return plan
        walk = self._walk("openvino", float_layers, plan, partial(progress, "match means"))
        return replace(plan, biases={"openvino": walk.biases})

    def _walk(
        self,
        placement: Placement,
        float_layers: frozenset[str],
        given: QuantPlan | None,
        progress: Callable[[int, int], None],
    ) -> Walk:
        fused_gates = given is None and self.recipe.fused_gates
        walk = Walk(
            self.model,
            self.seen,
            self.engine,
            self.method,
            self.avx2_safe,
            self.quant_params,
            placement,
            float_layers,
            given,
            fusable_gates(self.model.graph, float_layers) if fused_gates else frozenset(),
        )
        walk.start(self.samples.pixels)
        for index, node in enumerate(self.model.graph):
            walk.step(node)
            progress(index + 1, len(self.model.graph.nodes))
        return walk


def _check_finite(model: Model) -> None:
    for name, values in model.weights.items():
        if not np.isfinite(values).all():
            raise QuantizationError(
                f"{name} holds NaN or infinite weights: the checkpoint is damaged or its "
                "training diverged; use another one"
            )
