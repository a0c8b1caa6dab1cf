"""A device's profile + a budget of time -> a scaled variant that fills it, with what to expect."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edge_effnet.benchmarks.prediction import latency_model
from edge_effnet.benchmarks.prediction.accuracy_curve import Curve, curve
from edge_effnet.benchmarks.prediction.latency_model import Profile
from edge_effnet.errors import UsageError
from edge_effnet.network import LARGEST_SIDE, SMALLEST_SIDE, build
from edge_effnet.scaling import compound, scale
from edge_effnet.variants import Variant

#: How a knob's value makes a variant of a base: 0 leaves it, 1 makes it about twice as costly.
KNOBS: dict[str, Callable[[Variant, float], Variant]] = {
    "phi": lambda base, x: compound(base, x),
    "depth": lambda base, x: scale(base, depth=2.0**x),
    "width": lambda base, x: scale(base, width=2.0 ** (x / 2)),
    "resolution": lambda base, x: scale(base, resolution=2.0 ** (x / 2)),
}
_RANGE = (-6.0, 6.0)
_SIDE_STEP = 4  # pixels
_STEPS = 240  # a step of 0.05: repeats and channels are whole numbers, latency goes in stairs


@dataclass(frozen=True)
class Fit:
    """``variant`` fills the budget at ``value`` of the knob; ``latency_ms`` is predicted.

    ``top1`` is expected in float32 after training as the family's were, from ``curve``; ``known``
    says whether its cost lies within that of the curve's members. ``side`` is the input's where
    that alone took what was left of the budget.
    """

    base: Variant
    variant: Variant
    knob: str
    value: float
    budget_ms: float
    latency_ms: float
    latency_error: tuple[float, float]
    params: int
    multiply_adds: int
    top1: float
    curve: Curve
    kind: str
    side: int | None = None

    @property
    def known(self) -> bool:
        """Whether the estimate lies within the ladder."""
        return self.curve.span[0] <= self.multiply_adds <= self.curve.span[1]

    @property
    def recipe(self) -> str:
        """Python that makes the variant."""
        made = f'get_variant("{self.base.short_name}")'
        if self.knob == "phi":
            made = f"compound({made}, {self.value:g})"
        else:
            factor = 2.0 ** (self.value if self.knob == "depth" else self.value / 2)
            made = f"scale({made}, {self.knob}={factor!r})"
        return made if self.side is None else f"replace({made}, resolution={self.side})"

    def as_json(self) -> dict[str, Any]:
        """Plain data; shares are fractions, top-1 and its error percent."""
        variant = self.variant
        return {
            "name": variant.name,
            "base": self.base.name,
            "knob": self.knob,
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
            "ladder": list(self.curve.members),
            "extrapolated": not self.known,
            "recipe": self.recipe,
        }


def fit(
    profile: Profile,
    base: Variant,
    budget_ms: float,
    knob: str = "phi",
    format_name: str = "tflite",
    precision: str = "int8",
) -> Fit:
    """The largest network that ``knob`` makes of ``base`` within the budget.

    Of two settings that give one network the smaller is taken. Raises `UsageError` for a budget
    that leaves no time, or that even the smallest or the largest network does not meet or fill.
    """
    if not (math.isfinite(budget_ms) and budget_ms > 0):
        raise UsageError(
            f"a budget of {budget_ms:g} ms leaves no time for any model; give --budget-ms above 0"
        )
    coefficients = profile.of(format_name, precision)
    ladder = curve(base)

    def cost(step: int) -> tuple[Variant, float]:
        variant = KNOBS[knob](base, _value(step))
        if not SMALLEST_SIDE <= variant.resolution <= LARGEST_SIDE:
            return variant, 0.0 if variant.resolution < SMALLEST_SIDE else math.inf
        return variant, latency_model.predict(coefficients, latency_model.folded(variant))

    least, most = 0, _STEPS  # bisection: latency grows with the knob, but for the stairs
    smallest = next(step for step in range(_STEPS + 1) if cost(step)[1] > 0)
    if cost(smallest)[1] > budget_ms:
        raise UsageError(
            f"even {cost(smallest)[0].name} takes {cost(smallest)[1]:.2f} ms there, over the "
            f"budget of {budget_ms:g} ms; raise it, or give another --base or --knob"
        )
    if cost(most)[1] <= budget_ms:
        raise UsageError(
            f"a budget of {budget_ms:g} ms is more than any network of the kind takes "
            f"({cost(most)[1]:.0f} ms for {cost(most)[0].name}); give another --knob"
        )
    least = smallest
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if cost(middle)[1] <= budget_ms else (least, middle)
    variant, latency = cost(least)
    while least > smallest and _same(cost(least - 1)[0], variant):
        least -= 1
        variant = cost(least)[0]
    side = None
    if knob != "resolution":  # the next block or channel is too much: the rest goes to the side
        within, beyond = variant.resolution, LARGEST_SIDE
        while beyond - within > _SIDE_STEP:
            middle = within + (beyond - within) // 2 // _SIDE_STEP * _SIDE_STEP
            time = latency_model.predict(coefficients, latency_model.folded(variant, middle))
            if time > budget_ms:
                beyond = middle
            else:
                within = side = middle
                latency = time
    if side is not None:
        variant = replace(variant, name=f"{variant.name}-r{side}", resolution=side)
    graph = build(variant)
    return Fit(
        side=side,
        base=base,
        variant=variant,
        knob=knob,
        value=_value(least),
        budget_ms=budget_ms,
        latency_ms=round(latency, 4),
        latency_error=coefficients.error,
        params=graph.params,
        multiply_adds=graph.multiply_adds,
        top1=ladder.top1(graph.multiply_adds),
        curve=ladder,
        kind=f"{format_name} {precision}, {profile.threads} thread(s) of {profile.host.cpu}",
    )


def sheet(found: Fit) -> str:
    """A fit in a few lines, with the Python that trains it."""
    variant = found.variant
    made = "compound" if found.knob == "phi" else "scale"
    return "\n".join(
        [
            f"{variant.name}: {found.base.short_name} with {found.knob} {found.value:+g}",
            f"  width, depth     {variant.width:.3g}, {variant.depth:.3g}",
            f"  input            {variant.resolution} x {variant.resolution} RGB",
            f"  parameters       {found.params:,}",
            f"  multiply-adds    {found.multiply_adds:,}",
            f"  latency          {found.latency_ms:.2f} ms of {found.budget_ms:g}, predicted "
            f"({found.kind})",
            f"  top-1            {found.top1:.1f} % in float32 if trained as published: a curve "
            f"through {len(found.curve.members)}",
            f"                   networks that tells each from the others within "
            f"{found.curve.error:.2f} points (rms)",
            "",
            *(["from dataclasses import replace"] if found.side else []),
            "from edge_effnet import load",
            "from edge_effnet.converters.frameworks.torch import build",
            "from edge_effnet.registry import get_variant",
            f"from edge_effnet.scaling import {made}",
            "",
            f'network = build(load({found.recipe}, "random"))  # train it',
            "",
        ]
    )


def _value(step: int) -> float:
    low, high = _RANGE
    return round(low + (high - low) * step / _STEPS, 4)


def _same(one: Variant, other: Variant) -> bool:
    """Whether two settings round to one network."""
    return (one.resolution, one.scaled_stem, one.scaled_head, one.scaled_stages()) == (
        other.resolution,
        other.scaled_stem,
        other.scaled_head,
        other.scaled_stages(),
    )
