"""One layer's integers: from its quantized inputs, its float targets and its float weights.

The weights are first refitted onto the float outputs, which makes up for the error that the inputs
already carry, then rounded one column after another (`calibration.rounding`), then the bias brings
the mean of every channel back. Each step is kept only where it helps on samples that it did not
see, or per channel where it lowers the error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration import rounding
from edge_effnet.calibration.pointwise import Floats, Pointwise

#: Shrinkage of a refit towards the weights as they were, as shares of the inputs' mean variance.
SHRINKAGES = (0.03, 0.1, 0.3, 1.0, 3.0)
_HELD_OUT = 4  # one sample in so many judges a refit
_NEWTON_STEPS = 3


@dataclass(frozen=True)
class Problem:
    """What one layer is solved from.

    ``rows`` are its inputs as the integers stand for them, float32 [positions, k] with k over
    (height, width, input channel), or [out, positions, k] for a depthwise layer; in the order of
    the samples. ``targets`` are the float network's outputs before the activation ``function``,
    [positions, out]; ``weight`` is [out, k], ``bias`` [out]. ``pairs`` as in `rounding.pair_step`.
    """

    rows: Floats
    targets: Floats
    weight: Floats
    bias: Floats
    function: Pointwise
    pairs: int = 0

    @property
    def depthwise(self) -> bool:
        """Whether every output has inputs of its own."""
        return self.rows.ndim == 3

    def outputs(self, weight: Floats) -> Floats:
        """[positions, out] for ``weight`` and the bias."""
        if self.depthwise:
            return np.asarray(np.einsum("onk,ok->no", self.rows, weight) + self.bias)
        return np.asarray(self.rows @ weight.T + self.bias)

    def cut(self, start: int, stop: int) -> Problem:
        """The problem over a stretch of its positions."""
        return replace(self, rows=self.rows[..., start:stop, :], targets=self.targets[start:stop])


@dataclass(frozen=True)
class Solution:
    """``integers`` int8 [out, k], ``scale`` float32 [out] and the float ``bias`` [out]."""

    integers: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: Floats


@dataclass(frozen=True)
class Method:
    """How layers are solved: the steps that a recipe takes."""

    refit: bool = True
    gptq: bool = True
    damping: float = rounding.DAMPING
    bias: bool = True
    per_tensor: bool = False


def solve(problem: Problem, method: Method) -> Solution:
    """The integers of one layer."""
    hessian = _covariance(problem.rows)
    weight = refit(problem) if method.refit else problem.weight
    importance = np.maximum(np.diagonal(hessian, axis1=-2, axis2=-1), 1e-12)
    scale = rounding.choose_scale(weight, importance, problem.pairs, method.per_tensor)
    if not method.gptq:
        integers = rounding.nearest(weight, scale, importance, problem.pairs)
    elif problem.depthwise:
        integers = rounding.gptq_depthwise(weight, scale, hessian, method.damping)
    else:
        integers = rounding.gptq(weight, scale, hessian, problem.pairs, method.damping)
    bias = problem.bias
    if method.bias:
        rounded = integers.astype(np.float32) * scale[:, None]
        bias = bias + match_means(problem.outputs(rounded), problem.targets, problem.function)
    return Solution(integers, scale, bias)


def fit(problem: Problem, method: Method) -> tuple[Floats, Floats]:
    """The float weight [out, k] and bias [out] of a layer that is not rounded."""
    weight = refit(problem) if method.refit else problem.weight
    if not method.bias:
        return weight, problem.bias
    shift = match_means(problem.outputs(weight), problem.targets, problem.function)
    return weight, problem.bias + shift


def refit(problem: Problem) -> Floats:
    """Weights nearest to the float outputs in the least squares, shrunk towards what they were.

    The shrinkage is the one that serves samples best that it was not fitted to; where none helps,
    the weights stay. The inputs' mean is left to the bias.
    """
    count = len(problem.targets)
    split = count - count // _HELD_OUT
    if count < 2 * _HELD_OUT:
        return problem.weight
    fitted, judge = problem.cut(0, split), problem.cut(split, count)
    parts = _normal_equations(fitted)
    best, least = None, _error(judge, problem.weight)
    for shrinkage in SHRINKAGES:
        error = _error(judge, _shrunk(problem.weight, *parts, shrinkage))
        if error < least:
            best, least = shrinkage, error
    if best is None:
        return problem.weight
    return _shrunk(problem.weight, *_normal_equations(problem), best)


def _normal_equations(problem: Problem) -> tuple[Floats, Floats]:
    """Hessian and the gradient [out, k] of half the mean squared error, means taken off."""
    hessian = _covariance(problem.rows)
    rest = problem.targets - problem.outputs(problem.weight)
    rest = (rest - rest.mean(axis=0)) / np.float32(len(rest))
    if problem.depthwise:
        return hessian, np.einsum("onk,no->ok", problem.rows, rest)
    return hessian, rest.T @ problem.rows


def _shrunk(weight: Floats, hessian: Floats, gradient: Floats, shrinkage: float) -> Floats:
    damped = rounding.damp(hessian, shrinkage)
    if hessian.ndim == 3:
        step = np.linalg.solve(damped, gradient[..., None].astype(np.float64))[..., 0]
    else:
        step = np.linalg.solve(damped, gradient.T.astype(np.float64)).T
    return np.asarray(weight + step, np.float32)


def _error(problem: Problem, weight: Floats) -> float:
    """Squared error after the activation, means brought back."""
    outputs = problem.outputs(weight)
    outputs += match_means(outputs, problem.targets, problem.function)
    error = problem.function(outputs) - problem.function(problem.targets)
    return float(np.square(error).sum())


def match_means(outputs: Floats, targets: Floats, function: Pointwise) -> Floats:
    """Per channel, the shift of ``outputs`` after which the activation's mean is the targets'.

    Both are [positions, channels]. Newton steps on the mean; a channel keeps its shift only if that
    lowers its squared error after the activation.
    """
    goal = function(targets)
    mean = goal.mean(axis=0)
    shift = np.zeros(outputs.shape[1], np.float32)
    for _ in range(_NEWTON_STEPS if function.kind else 1):
        moved = outputs + shift
        slope = function.slope(moved).mean(axis=0)
        gap = mean - function(moved).mean(axis=0)
        shift += np.where(slope > 0.01, gap / np.maximum(slope, 0.05), 0).astype(np.float32)
    before = np.square(function(outputs) - goal).mean(axis=0)
    after = np.square(function(outputs + shift) - goal).mean(axis=0)
    return np.where(after < before, shift, 0).astype(np.float32)


def _covariance(rows: Floats) -> Floats:
    """[..., n, k] -> [..., k, k]; the bias sees to the mean."""
    centred = rows - rows.mean(axis=-2, keepdims=True)
    return np.asarray(np.swapaxes(centred, -1, -2) @ centred / np.float32(rows.shape[-2]))
