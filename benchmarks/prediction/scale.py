"""Scaling of a variant to a latency budget by predicted latency, with the expected top-1."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from edge_effnet.benchmarks.prediction.accuracy_curve import AccuracyCurve, accuracy_curve
from edge_effnet.benchmarks.prediction.latency_model import (
    LatencyModel,
    RuntimeModel,
    folded_graph,
)
from edge_effnet.errors import UsageError
from edge_effnet.network import LARGEST_SIDE, SMALLEST_SIDE, build
from edge_effnet.scaling import compound, scale
from edge_effnet.variants import Variant

#: Scaling axes: (base, value) -> variant. Value 0 gives the base; value 1 about doubles its
#: multiply-adds.
AXES: dict[str, Callable[[Variant, float], Variant]] = {
    "phi": lambda base, x: compound(base, x),
    "depth": lambda base, x: scale(base, depth=2.0**x),
    "width": lambda base, x: scale(base, width=2.0 ** (x / 2)),
    "resolution": lambda base, x: scale(base, resolution=2.0 ** (x / 2)),
}
_RANGE = (-6.0, 6.0)  # smallest and largest value on an axis
_SIDE_STEP = 4  # pixels
_STEPS = 240  # steps of 0.05; latency rises in jumps, as repeats and channels are integers


@dataclass(frozen=True)
class ScaledVariant:
    """A variant scaled from ``base`` along ``axis`` to fill a latency budget.

    Attributes:
        base: The variant that was scaled.
        variant: The result.
        axis: A key of `AXES`.
        value: Position on the axis.
        budget_ms: The latency budget.
        latency_ms: Predicted latency of one inference at batch 1.
        latency_error: Median and 95th percentile of the latency model's relative error.
        params: Number of parameters.
        multiply_adds: Number of multiply-adds.
        top1: Expected float32 top-1 in percent, if trained like the published networks of the
            family.
        curve: The accuracy curve that gives ``top1``.
        device: Format, precision, threads and CPU of the prediction, for display.
        side: Side of the input, if enlarged to use the rest of the budget; otherwise None.
    """

    base: Variant
    variant: Variant
    axis: str
    value: float
    budget_ms: float
    latency_ms: float
    latency_error: tuple[float, float]
    params: int
    multiply_adds: int
    top1: float
    curve: AccuracyCurve
    device: str
    side: int | None = None

    @property
    def interpolated(self) -> bool:
        """Whether the multiply-adds lie within those of the curve's members."""
        return self.curve.span[0] <= self.multiply_adds <= self.curve.span[1]

    @property
    def recipe(self) -> str:
        """Python expression that constructs the variant."""
        code = f'get_variant("{self.base.short_name}")'
        if self.axis == "phi":
            code = f"compound({code}, {self.value:g})"
        else:
            factor = 2.0 ** (self.value if self.axis == "depth" else self.value / 2)
            code = f"scale({code}, {self.axis}={factor!r})"
        return code if self.side is None else f"replace({code}, resolution={self.side})"

    def as_json(self) -> dict[str, Any]:
        """Plain data. Latency errors are fractions; top-1 and its error are in percent."""
        variant = self.variant
        return {
            "name": variant.name,
            "base": self.base.name,
            "axis": self.axis,
            "value": self.value,
            "depth": variant.depth,
            "width": variant.width,
            "input_size": variant.resolution,
            "params": self.params,
            "flops": self.multiply_adds,
            "budget_ms": self.budget_ms,
            "latency_ms": self.latency_ms,
            "latency_error": list(self.latency_error),
            "top1": round(self.top1, 2),
            "top1_error": self.curve.error,
            "curve": list(self.curve.members),
            "extrapolated": not self.interpolated,
            "recipe": self.recipe,
        }


def scale_to_budget(
    model: LatencyModel,
    base: Variant,
    budget_ms: float,
    axis: str = "phi",
    format_name: str = "tflite",
    precision: str = "int8",
) -> ScaledVariant:
    """The largest network along ``axis`` from ``base`` with a predicted latency within the budget.

    If several values give the same network, the smallest is used. The rest of the budget is used to
    enlarge the input.

    Args:
        model: Latency model of the device.
        base: The variant to scale.
        budget_ms: Largest latency of one inference.
        axis: A key of `AXES`.
        format_name: Format of the files.
        precision: Precision of the files.

    Returns:
        The scaled variant with its predicted latency and expected top-1.

    Raises:
        UsageError: The smallest network exceeds the budget, or the largest does not fill it.
    """
    if not (math.isfinite(budget_ms) and budget_ms > 0):
        raise UsageError(
            f"a budget of {budget_ms:g} ms leaves no time for any model",
            hint="give budget_ms= above 0",
        )
    runtime = model.of(format_name, precision)
    curve = accuracy_curve(base)

    @cache
    def candidate(step: int) -> tuple[Variant, float]:
        variant = AXES[axis](base, _value(step))
        if not SMALLEST_SIDE <= variant.resolution <= LARGEST_SIDE:
            return variant, 0.0 if variant.resolution < SMALLEST_SIDE else math.inf
        return variant, runtime.predict(folded_graph(variant))

    def latency_of(step: int) -> float:
        return candidate(step)[1]

    smallest = next(step for step in range(_STEPS + 1) if latency_of(step) > 0)
    if latency_of(smallest) > budget_ms:
        raise UsageError(
            f"even {candidate(smallest)[0].name} takes {latency_of(smallest):.2f} ms there, over "
            f"the budget of {budget_ms:g} ms; raise it, or give another base or axis"
        )
    if latency_of(_STEPS) <= budget_ms:
        raise UsageError(
            f"a budget of {budget_ms:g} ms is more than any network of the kind takes "
            f"({latency_of(_STEPS):.0f} ms for {candidate(_STEPS)[0].name}); give another axis"
        )
    # Bisection: latency does not fall along the axis, apart from small jumps.
    step = bisect_right(range(_STEPS), budget_ms, lo=smallest + 1, key=latency_of) - 1
    variant, latency = candidate(step)
    while step > smallest and _same(candidate(step - 1)[0], variant):
        step -= 1
        variant = candidate(step)[0]
    side = _largest_side(runtime, variant, budget_ms)
    if side is not None:
        latency = runtime.predict(folded_graph(variant, side))
        name = variant.name.removesuffix(f"-r{variant.resolution}")
        variant = replace(variant, name=f"{name}-r{side}", resolution=side)
    graph = build(variant)
    return ScaledVariant(
        base=base,
        variant=variant,
        axis=axis,
        value=_value(step),
        budget_ms=budget_ms,
        latency_ms=round(latency, 4),
        latency_error=runtime.error,
        params=graph.params,
        multiply_adds=graph.multiply_adds,
        top1=curve.top1(graph.multiply_adds),
        curve=curve,
        device=f"{runtime.name}, {model.threads} thread(s) of {model.host.cpu}",
        side=side,
    )


def _largest_side(runtime: RuntimeModel, variant: Variant, budget_ms: float) -> int | None:
    """Largest input side within the budget (multiple of 4); None if only the default side fits."""
    sides = range(variant.resolution, LARGEST_SIDE, _SIDE_STEP)

    def latency_of(side: int) -> float:
        return runtime.predict(folded_graph(variant, side))

    index = bisect_right(sides, budget_ms, lo=1, key=latency_of) - 1
    return sides[index] if index > 0 else None


def sheet(scaled: ScaledVariant) -> str:
    """The scaled variant in a few lines, with the Python that builds it for training."""
    variant = scaled.variant
    function = "compound" if scaled.axis == "phi" else "scale"
    return "\n".join(
        [
            f"{variant.name}: {scaled.base.short_name} with {scaled.axis} {scaled.value:+g}",
            f"  width, depth     {variant.width:.3g}, {variant.depth:.3g}",
            f"  input            {variant.resolution} x {variant.resolution} RGB",
            f"  parameters       {scaled.params:,}",
            f"  multiply-adds    {scaled.multiply_adds:,}",
            f"  latency          {scaled.latency_ms:.2f} ms of {scaled.budget_ms:g}, predicted "
            f"({scaled.device})",
            f"  top-1            {scaled.top1:.1f} % in float32 if trained as published: accuracy",
            f"                   curve of {len(scaled.curve.members)} networks, cross-validation "
            f"error {scaled.curve.error:.2f} points (rms)",
            "",
            *(["from dataclasses import replace"] if scaled.side else []),
            "from edge_effnet import load",
            "from edge_effnet.converters.frameworks.torch import build",
            "from edge_effnet.registry import get_variant",
            f"from edge_effnet.scaling import {function}",
            "",
            f'network = build(load({scaled.recipe}, "random"))  # train it',
            "",
        ]
    )


def _value(step: int) -> float:
    low, high = _RANGE
    return round(low + (high - low) * step / _STEPS, 4)


def _same(one: Variant, other: Variant) -> bool:
    """Whether two scaled variants are the same network after rounding."""
    return (one.resolution, one.scaled_stem, one.scaled_head, one.scaled_stages()) == (
        other.resolution,
        other.scaled_stem,
        other.scaled_head,
        other.scaled_stages(),
    )
