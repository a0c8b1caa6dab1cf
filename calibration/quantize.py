"""Model + samples -> QuantPlan: observe the float network, choose grids, then walk the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from edge_effnet.calibration.engine import Engine, on_one_blas_thread
from edge_effnet.calibration.layer import Method
from edge_effnet.calibration.observe import Observation, observe
from edge_effnet.calibration.photos import Samples
from edge_effnet.calibration.pixels import input_grid, with_common_input
from edge_effnet.calibration.plan import SIGMOID_GRID, Grid, Placement, QuantPlan
from edge_effnet.calibration.pointwise import CLIPS, Pointwise
from edge_effnet.calibration.ranges import choose_range, output_weighted_range
from edge_effnet.calibration.recipes import get
from edge_effnet.calibration.spare import with_spare_channels
from edge_effnet.calibration.ties import without_ties
from edge_effnet.calibration.walk import Walk, activation_of
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Activation, Conv, MaxPool, Mul, Node
from edge_effnet.model import Model

#: Samples that layers are solved on; ranges are taken over all. Bounds memory and time.
MOST_SOLVED = 128
#: Room that the logits' grid leaves beyond the largest one seen, as a share of the range: other
#: photos have larger ones.
HEADROOM = 0.1

Progress = Callable[[str, int, int], None]


@on_one_blas_thread
def calibrate(
    model: Model,
    samples: Samples,
    engine: Engine,
    *,
    recipe: str = "default",
    avx2_safe: bool = True,
    progress: Progress | None = None,
    per_tensor: bool = False,
    max_drop: float | None = None,
) -> QuantPlan:
    """The `QuantPlan` of ``model`` (BN folded) for ``samples``.

    ``avx2_safe`` applies the pair rule (see `calibration.rounding`), ``per_tensor`` gives each
    layer one weight scale. ``max_drop``, in points of top-1, leaves in float what that takes
    (`calibration.mixed`). Raises `QuantizationError` if the weights are not finite or a node has
    no quantized form, `UsageError` for an unknown ``recipe``.
    """
    chosen = get(recipe)
    _check_finite(model)
    say = progress or (lambda step, done, total: None)
    model = with_spare_channels(model)
    seen = observe(
        model,
        samples.pixels,
        engine,
        partial(say, "observe"),
        solved=MOST_SOLVED,
        positions=chosen.positions,
    )
    common = with_common_input(model)
    method = replace(chosen.method, per_tensor=per_tensor)
    grids = choose_grids(common, seen)
    calibration = Calibration(common, samples, engine, seen, grids, method, recipe, avx2_safe)
    plan = calibration.solve(say)
    if max_drop is not None:
        from edge_effnet.calibration.mixed import leave_floats

        plan = leave_floats(calibration, plan, max_drop, say)
    return plan


@dataclass(frozen=True)
class Calibration:
    """What one look at the samples gives; the network can be solved from it more than once."""

    model: Model
    samples: Samples
    engine: Engine
    seen: Observation
    grids: Mapping[str, Grid]
    method: Method
    recipe: str
    avx2_safe: bool

    def solve(self, progress: Progress, floats: frozenset[str] = frozenset()) -> QuantPlan:
        """Walk the network, leaving the nodes ``floats`` in float.

        Integers are found as TFLite's and ONNX Runtime's kernels compute; where OpenVINO's compute
        otherwise, a second walk finds the biases of its files.
        """
        walk = self._walk("tflite", floats, None, partial(progress, "quantize"))
        plan = QuantPlan(
            walk.layers,
            self.grids,
            self.recipe,
            self.samples.record,
            self.avx2_safe,
            floats,
            walk.weights,
        )
        if all(node.kind in CLIPS for node in self.model.graph if isinstance(node, Activation)):
            return plan
        walk = self._walk("openvino", floats, plan, partial(progress, "match means"))
        return replace(plan, biases={"openvino": walk.biases})

    def _walk(
        self,
        placement: Placement,
        floats: frozenset[str],
        given: QuantPlan | None,
        progress: Callable[[int, int], None],
    ) -> Walk:
        walk = Walk(
            self.model,
            self.seen,
            self.engine,
            self.method,
            self.avx2_safe,
            self.grids,
            placement,
            floats,
            given,
        )
        walk.start(self.samples.pixels)
        for index, node in enumerate(self.model.graph):
            walk.step(node)
            progress(index + 1, len(self.model.graph.nodes))
        return walk


def choose_grids(model: Model, seen: Observation) -> dict[str, Grid]:
    """A grid for every tensor that a format may store."""
    graph = model.graph
    grids = {graph.input: input_grid(model.card.preprocess)}
    for node in graph:
        reader = activation_of(graph, node.name)
        if isinstance(node, MaxPool):
            grids[node.name] = grids[node.inputs[0]]  # the grid that int8 kernels keep
        elif reader is None or reader.kind not in CLIPS:
            grids[node.name] = _grid(model, seen, node, reader)
    return without_ties(graph, grids)


def _grid(model: Model, seen: Observation, node: Node, reader: Activation | None) -> Grid:
    graph = model.graph
    if isinstance(node, Activation) and node.kind == "sigmoid":
        return SIGMOID_GRID
    if isinstance(node, Activation) and node.kind in CLIPS:
        return Grid.of_range(
            *choose_range(seen.histograms[node.inputs[0]].clipped(*CLIPS[node.kind]))
        )
    histogram = seen.histograms[node.name]
    if node.name == graph.output:
        room = HEADROOM * (histogram.high - histogram.low)
        return Grid.of_range(histogram.low, histogram.high + room)
    consumer = graph.consumers[node.name][0]
    if isinstance(node, Mul) and isinstance(consumer, Conv) and consumer.kernel == 1:
        weight = model.weights[f"{consumer.name}.weight"][:, :, 0, 0]
        columns = seen.columns[node.name]
        return Grid.of_range(*output_weighted_range(columns, weight, histogram.low, histogram.high))
    return Grid.of_range(*choose_range(histogram, function=Pointwise.of(reader)))


def _check_finite(model: Model) -> None:
    for name, values in model.weights.items():
        if not np.isfinite(values).all():
            raise QuantizationError(
                f"{name} holds NaN or infinite weights: the checkpoint is damaged or its "
                "training diverged; use another one"
            )
