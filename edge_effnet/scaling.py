"""Compound scaling of a network's depth, width and resolution (Tan & Le 2019).

Equation 3 of arXiv 1905.11946: depth alpha^phi, width beta^phi, resolution gamma^phi. Here alpha,
beta, gamma >= 1 and alpha * beta^2 * gamma^2 is about 2. Multiply-adds therefore grow by a factor
of about 2^phi.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_effnet.errors import UsageError
from edge_effnet.variants import Variant

#: Scaled input sides are multiples of this, like the released sides (240, 260, 300 ... 600).
_SIDE_STEP = 4
_GROWTH = 2.0  # target of alpha * beta^2 * gamma^2
_LARGEST_FACTOR = 100.0  # the largest released factor is L2's: 5.3
_LARGEST_PHI = 20.0


@dataclass(frozen=True)
class Coefficients:
    """Scaling coefficients of depth (``alpha``), width (``beta``) and resolution (``gamma``)."""

    alpha: float
    beta: float
    gamma: float

    @property
    def growth(self) -> float:
        """Factor of the multiply-adds per unit of phi: alpha * beta^2 * gamma^2."""
        return self.alpha * self.beta**2 * self.gamma**2


#: The paper's coefficients for B0 (section 4, step 1): alpha * beta^2 * gamma^2 = 1.92.
B0_COEFFICIENTS = Coefficients(1.2, 1.1, 1.15)


def scale(
    base: Variant,
    *,
    depth: float = 1.0,
    width: float = 1.0,
    resolution: float = 1.0,
    name: str | None = None,
) -> Variant:
    """``base`` with its repeats, channels and input side multiplied by factors.

    Rounding follows the published rules. Repeats are rounded up (`round_repeats`), channels to
    multiples of the network's divisor (`round_filters`). The input side is rounded to the nearest
    multiple of 4 pixels. Factors multiply those of a ``base`` that is already scaled.

    Args:
        base: The network.
        depth: Factor of the repeats.
        width: Factor of the channels.
        resolution: Factor of the input side.
        name: Name of the result; by default the base's name followed by the factors.

    Raises:
        UsageError: A factor is not above 0 and at most 100.
    """
    for dimension, factor in (("depth", depth), ("width", width), ("resolution", resolution)):
        if not 0 < factor <= _LARGEST_FACTOR:
            raise UsageError(
                f"a {dimension} of {factor:g} scales no network; give a number above 0 and up to "
                f"{_LARGEST_FACTOR:g}"
            )
    side = base.resolution
    if resolution != 1.0:
        side = max(_SIDE_STEP, round(side * resolution / _SIDE_STEP) * _SIDE_STEP)
    return replace(
        base,
        name=name or f"{base.name}-d{depth:.3g}-w{width:.3g}-r{side}",
        depth=base.depth * depth,
        width=base.width * width,
        resolution=side,
        published=None,
    )


def compound(
    base: Variant,
    phi: float,
    coefficients: Coefficients = B0_COEFFICIENTS,
    *,
    name: str | None = None,
) -> Variant:
    """``base`` scaled to about 2^phi times its multiply-adds; ``phi`` may be negative.

    The released B1 to B7 differ slightly from this formula. Their factors were chosen by hand and
    are listed in `edge_effnet.variants`.
    """
    if not abs(phi) <= _LARGEST_PHI:
        raise UsageError(
            f"phi must be a number from {-_LARGEST_PHI:g} to {_LARGEST_PHI:g}, not {phi:g}"
        )
    return scale(
        base,
        depth=coefficients.alpha**phi,
        width=coefficients.beta**phi,
        resolution=coefficients.gamma**phi,
        name=name or f"{base.name}-phi{phi:g}",
    )


@dataclass(frozen=True)
class Trial:
    """One candidate of `search`: ``variant`` is the base scaled by ``coefficients`` at phi = 1."""

    coefficients: Coefficients
    variant: Variant
    score: float


def coefficient_candidates(step: float = 0.05, tolerance: float = 0.1) -> Iterator[Coefficients]:
    """All (alpha, beta, gamma) with alpha * beta^2 * gamma^2 within ``tolerance`` of 2.

    Each coefficient is one of 1, 1 + ``step``, 1 + 2 ``step``, ...

    Raises:
        UsageError: The step or tolerance is not positive.
    """
    if not (step > 0 and tolerance > 0):
        raise UsageError(
            f"the search needs a step and a tolerance above 0, not {step}, {tolerance}"
        )
    most = _GROWTH + tolerance
    alphas, betas = _axis(step, most), _axis(step, math.sqrt(most))
    for alpha in alphas:
        for beta in betas:
            for gamma in betas:
                coefficients = Coefficients(alpha, beta, gamma)
                if abs(coefficients.growth - _GROWTH) <= tolerance:
                    yield coefficients


def search(
    base: Variant,
    score: Callable[[Variant], float],
    *,
    step: float = 0.05,
    tolerance: float = 0.1,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Trial]:
    """The paper's grid search (section 3.3, step 1) for alpha, beta and gamma.

    Scores ``base`` scaled at phi = 1 with each of the `coefficient_candidates`.

    Args:
        base: The network.
        score: Function of a variant to maximise: accuracy after a short training, or negative
            latency.
        step: Step between values of each coefficient.
        tolerance: Largest deviation of alpha * beta^2 * gamma^2 from 2.
        progress: Called with ("search", done, total).

    Returns:
        All trials, best first. Of equal scores, alpha * beta^2 * gamma^2 nearest to 2 comes first.

    Raises:
        UsageError: A score is not a number, or there are no candidates.
    """
    points = list(coefficient_candidates(step, tolerance))
    if not points:
        raise UsageError(
            f"no alpha, beta, gamma in steps of {step:g} bring alpha * beta^2 * gamma^2 within "
            f"{tolerance:g} of 2; use smaller steps or a larger tolerance"
        )
    trials = []
    for done, point in enumerate(points, 1):
        name = f"{base.name}-a{point.alpha:g}-b{point.beta:g}-g{point.gamma:g}"
        variant = compound(base, 1.0, point, name=name)
        value = float(score(variant))
        if math.isnan(value):
            raise UsageError(f"the score of {name} is not a number; a search cannot rank it")
        trials.append(Trial(point, variant, value))
        if progress is not None:
            progress("search", done, len(points))
    return sorted(
        trials, key=lambda trial: (-trial.score, abs(trial.coefficients.growth - _GROWTH))
    )


def _axis(step: float, most: float) -> list[float]:
    """1, 1 + ``step``, ... up to ``most``, without accumulated rounding errors."""
    return [round(1 + index * step, 9) for index in range(int((most - 1) / step + 1e-9) + 1)]
