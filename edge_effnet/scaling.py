"""Compound scaling: any network of the family, or a baseline, made deeper, wider and larger.

Equation 3 of Tan & Le 2019 (arXiv 1905.11946): depth alpha^phi, width beta^phi, resolution
gamma^phi, with alpha, beta, gamma >= 1 and alpha * beta^2 * gamma^2 ~ 2, so that the multiply-adds
grow by about 2^phi.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_effnet.errors import UsageError
from edge_effnet.variants import Variant

#: A side is rounded to a multiple of this; the released ones (240, 260, 300 ... 600) all are.
_SIDE_STEP = 4
_GROWTH = 2.0  # what alpha * beta^2 * gamma^2 should be
_LARGEST_FACTOR = 100.0  # of L2 and so of all released ones: 5.3
_LARGEST_PHI = 20.0


@dataclass(frozen=True)
class Coefficients:
    """How phi is spent on depth (``alpha``), width (``beta``) and resolution (``gamma``)."""

    alpha: float
    beta: float
    gamma: float

    @property
    def growth(self) -> float:
        """The factor by which multiply-adds grow with each step of phi, rounding aside."""
        return self.alpha * self.beta**2 * self.gamma**2


#: What the authors found for B0 (section 4, step 1); their product is 1.92.
B0_COEFFICIENTS = Coefficients(1.2, 1.1, 1.15)


def scale(
    base: Variant,
    *,
    depth: float = 1.0,
    width: float = 1.0,
    resolution: float = 1.0,
    name: str | None = None,
) -> Variant:
    """``base`` with its repeats, channels and side multiplied.

    Repeats are rounded up and channels to multiples of the network's divisor, as published
    (`round_repeats`, `round_filters`), the side in pixels to the nearest multiple of 4. A ``base``
    that is scaled already is scaled further. Without a ``name`` it is made of the base's and the
    factors. Raises `UsageError` for a factor that is not above 0 and up to 100.
    """
    for what, factor in (("depth", depth), ("width", width), ("resolution", resolution)):
        if not 0 < factor <= _LARGEST_FACTOR:
            raise UsageError(
                f"a {what} of {factor:g} scales no network; give a number above 0 and up to "
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
    """``base`` with about 2^``phi`` times its multiply-adds; a negative ``phi`` makes it smaller.

    The released B1 to B7 follow this only roughly: their factors were chosen by hand, so they are
    data (`edge_effnet.variants`), not results of this function.
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
    """One point of the grid: ``variant`` is the base scaled by ``coefficients`` at phi 1."""

    coefficients: Coefficients
    variant: Variant
    score: float


def grid(step: float = 0.05, tolerance: float = 0.1) -> Iterator[Coefficients]:
    """Every alpha, beta, gamma of 1, 1 + ``step``, ... whose growth is 2 within ``tolerance``.

    Raises `UsageError` for a step or tolerance that is not positive.
    """
    if not (step > 0 and tolerance > 0):
        raise UsageError(f"the grid needs a step and a tolerance above 0, not {step}, {tolerance}")
    most = _GROWTH + tolerance
    alphas, betas = _axis(step, most), _axis(step, math.sqrt(most))
    for alpha in alphas:
        for beta in betas:
            for gamma in betas:
                found = Coefficients(alpha, beta, gamma)
                if abs(found.growth - _GROWTH) <= tolerance:
                    yield found


def search(
    base: Variant,
    score: Callable[[Variant], float],
    *,
    step: float = 0.05,
    tolerance: float = 0.1,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Trial]:
    """The authors' small grid search (step 1): ``base`` at phi 1 by each point of `grid`.

    ``score`` is what to maximise: accuracy after a short training, or a negative latency. Returns
    every trial, the best first; of equal ones the one nearest to a growth of 2. ``progress`` is
    told ("search", done, total). Raises `UsageError` if a score is no number.
    """
    points = list(grid(step, tolerance))
    if not points:
        raise UsageError(
            f"no alpha, beta, gamma in steps of {step:g} bring alpha * beta^2 * gamma^2 within "
            f"{tolerance:g} of 2; take smaller steps or more tolerance"
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
    """1, 1 + ``step``, ... up to ``most``, without the drift of repeated sums."""
    return [round(1 + index * step, 9) for index in range(int((most - 1) / step + 1e-9) + 1)]
