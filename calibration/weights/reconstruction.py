"""One layer's integers: from its quantized inputs, its float targets and its float weights.

The weights are first refitted onto the float outputs, which makes up for the error that the inputs
already carry, then rounded one column after another (`calibration.weights.gptq`), then the bias brings
the mean of every channel back. Each step is kept only where it helps on samples that it did not
see, or per channel where it lowers the error.

All but what an activation takes part in is worked out from second moments, which are gathered once:
what a change of the weights does to the squared error is a quadratic form in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import ActivationFunction, Floats
from edge_effnet.calibration.engine import in_parallel
from edge_effnet.calibration.weights import gptq
from edge_effnet.calibration.weights.gptq import DAMPING

#: Shrinkage of a refit towards the weights as they were, as shares of the inputs' mean variance.
SHRINKAGES = (0.03, 0.1, 0.3, 1.0, 3.0)
_HELD_OUT = 4  # one sample in so many judges a refit
_JUDGES = 512  # positions of them at most, where an activation follows
_NEWTON_STEPS = 3
_CHANNELS = 32  # whose outputs are looked at together: what fits into a cache


@dataclass(frozen=True)
class LayerReconstruction:
    """What one layer is solved from.

    ``rows`` are its inputs as the integers stand for them, less their ``mean``: float32
    [positions, k] and [k] with k over (height, width, input channel), or [out, positions, k] and
    [out, k] for a depthwise layer; in the order of the samples. ``targets`` are the float network's
    outputs before the activation ``function``, [positions, out]; ``weight`` is [out, k], ``bias``
    [out]. ``pairs`` as in `gptq.pair_step`.
    """

    rows: Floats
    mean: Floats
    targets: NDArray[np.floating[Any]]
    weight: Floats
    bias: Floats
    function: ActivationFunction
    pairs: int = 0

    @property
    def depthwise(self) -> bool:
        """Whether every output has inputs of its own."""
        return self.rows.ndim == 3

    def mean_outputs(self, weight: Floats) -> Floats:
        """[out] of ``weight`` and the bias, before the activation."""
        return np.asarray((weight * self.mean).sum(axis=1) + self.bias)

    def outputs(self, weight: Floats, channels: slice) -> Floats:
        """[channels, positions] of ``weight`` and the bias, before the activation."""
        part = weight[channels]
        if self.depthwise:
            products = (self.rows[channels] @ part[:, :, None])[:, :, 0]
        else:
            products = part @ self.rows.T
        products += self.mean_outputs(weight)[channels, None]
        return np.asarray(products)

    def thinned(self, start: int, most: int) -> LayerReconstruction:
        """The problem over at most ``most`` of its positions from ``start`` on."""
        step = -(-(self.targets.shape[1] - start) // most)
        part = slice(start, None, step)
        return replace(self, rows=self.rows[..., part, :], targets=self.targets[:, part])

    def error(self, weight: Floats) -> float:
        """Squared error after the activation, means brought back."""
        outputs = self.outputs(weight, slice(None))
        targets = self.targets.astype(np.float32)
        outputs += match_means(outputs, targets, self.function)[:, None]
        return float(_squared_error(self.function(outputs), self.function(targets)).sum())


@dataclass(frozen=True)
class QuantizedLayer:
    """``integers`` int8 [out, k], ``scale`` float32 [out] and the float ``bias`` [out]."""

    integers: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: Floats


@dataclass(frozen=True)
class Method:
    """How layers are solved: the steps that a recipe takes."""

    weight_correction: bool = True
    gptq: bool = True
    damping: float = DAMPING
    bias_correction: bool = True
    per_tensor: bool = False


@dataclass(frozen=True)
class InputMoments:
    """Sums over ``count`` positions, from which moments follow; those of two stretches add up.

    ``rows`` [k] and ``squares`` [k, k] are of a layer's inputs ([out, k], [out, k, k] if
    depthwise), ``targets`` [out] of its targets, ``products`` [out, k] of both.
    """

    count: int
    rows: Floats
    targets: Floats
    squares: Floats
    products: Floats

    @classmethod
    def of(cls, rows: Floats, targets: Floats) -> InputMoments:
        """``rows`` as in `LayerReconstruction`, ``targets`` float32 [out, positions]."""
        squares = np.swapaxes(rows, -1, -2) @ rows
        products = (targets[:, None] @ rows)[:, 0] if rows.ndim == 3 else targets @ rows
        return cls(targets.shape[1], total(rows), targets.sum(axis=1), squares, products)

    def __add__(self, other: InputMoments) -> InputMoments:
        return InputMoments(
            self.count + other.count,
            self.rows + other.rows,
            self.targets + other.targets,
            self.squares + other.squares,
            self.products + other.products,
        )

    def hessian(self) -> Floats:
        """Covariance of the inputs, [k, k] or [out, k, k]: the bias sees to the mean."""
        mean = self.rows / np.float32(self.count)
        return np.asarray(
            self.squares / np.float32(self.count) - mean[..., :, None] * mean[..., None, :]
        )

    def gradient(self, weight: Floats) -> Floats:
        """[out, k]: the way from ``weight`` on which the mean squared error falls fastest."""
        share = np.float32(1 / self.count)
        covariance = self.products * share - (self.targets * share)[:, None] * (self.rows * share)
        return np.asarray(covariance - _times(weight, self.hessian()))


def _sums(problem: LayerReconstruction) -> tuple[InputMoments, InputMoments]:
    """Of the positions that weights are fitted to, and of those that judge the fit."""
    split = problem.targets.shape[1] - problem.targets.shape[1] // _HELD_OUT
    level = problem.targets.mean(axis=1, dtype=np.float32)
    fitted, judge = (
        InputMoments.of(problem.rows[..., part, :], problem.targets[:, part] - level[:, None])
        for part in (slice(0, split), slice(split, None))
    )
    return fitted, judge


def fit(problem: LayerReconstruction, method: Method) -> tuple[Floats, Floats]:
    """The float weight [out, k] and bias [out] of a layer that is not rounded."""
    weight = refit(problem, *_sums(problem)) if method.weight_correction else problem.weight
    return weight, problem.bias + _shift(
        problem, weight
    ) if method.bias_correction else problem.bias


def solve(problem: LayerReconstruction, method: Method) -> QuantizedLayer:
    """The integers of one layer."""
    fitted, judge = _sums(problem)
    weight = refit(problem, fitted, judge) if method.weight_correction else problem.weight
    hessian = (fitted + judge).hessian()
    importance = np.maximum(np.diagonal(hessian, axis1=-2, axis2=-1), 1e-12)
    scale = gptq.choose_scale(weight, importance, problem.pairs, method.per_tensor)
    if not method.gptq:
        integers = gptq.nearest(weight, scale, importance, problem.pairs)
    elif problem.depthwise:
        integers = gptq.gptq_depthwise(weight, scale, hessian, method.damping)
    else:
        integers = gptq.gptq(weight, scale, hessian, problem.pairs, method.damping)
    bias = problem.bias
    if method.bias_correction:
        bias = bias + _shift(problem, integers.astype(np.float32) * scale[:, None])
    return QuantizedLayer(integers, scale, bias)


def refit(problem: LayerReconstruction, fitted: InputMoments, judge: InputMoments) -> Floats:
    """Weights nearest to the float outputs in the least squares, shrunk towards what they were.

    The shrinkage is the one that serves ``judge`` best, samples that it was not ``fitted`` to;
    where none helps, the weights stay.
    """
    if judge.count < 2:
        return problem.weight
    gradient, hessian = fitted.gradient(problem.weight), fitted.hessian()
    pull, curvature = judge.gradient(problem.weight), judge.hessian()
    some = problem.thinned(fitted.count, _JUDGES)
    least = some.error(problem.weight) if problem.function.kind else 0.0
    best = None
    for shrinkage, step in _steps(hessian, gradient):
        if problem.function.kind:
            error = some.error(problem.weight + step)
        else:
            error = float((step * (_times(step, curvature) - 2 * pull)).sum())
        if error < least:
            best, least = shrinkage, error
        elif best is not None:
            break  # less of it would be worse still
    if best is None:
        return problem.weight
    every = fitted + judge
    return problem.weight + _step(every.hessian(), every.gradient(problem.weight), best)


def total(rows: Floats) -> Floats:
    """[..., n, k] -> [..., k]: the sum over n, as a product, which is faster for a small k."""
    return np.asarray(np.ones(rows.shape[-2], np.float32) @ rows)


def _times(weight: Floats, hessian: Floats) -> Floats:
    """[out, k] times [k, k], or times each channel's own."""
    if hessian.ndim == 3:
        return np.asarray((weight[:, None] @ hessian)[:, 0])
    return np.asarray(weight @ hessian)


def _step(hessian: Floats, gradient: Floats, shrinkage: float) -> Floats:
    """[out, k]; single precision is enough for a Hessian that is damped so much."""
    damped = gptq.damp(hessian, shrinkage).astype(np.float32)
    if hessian.ndim == 3:
        return np.asarray(np.linalg.solve(damped, gradient[..., None])[..., 0])
    return np.asarray(np.linalg.solve(damped, gradient.T).T)


def _steps(hessian: Floats, gradient: Floats) -> Iterator[tuple[float, Floats]]:
    """Each shrinkage, the largest first, and its step; two are worked out at a time."""
    largest_first = SHRINKAGES[::-1]
    for start in range(0, len(largest_first), 2):
        pair = largest_first[start : start + 2]
        yield from zip(pair, in_parallel(partial(_step, hessian, gradient), pair), strict=True)


def _shift(problem: LayerReconstruction, weight: Floats) -> Floats:
    """[out]: what brings every channel's mean back for ``weight``."""
    if not problem.function.kind:
        mean = problem.targets.mean(axis=1, dtype=np.float32)
        return np.asarray(mean - problem.mean_outputs(weight))

    def of_channels(start: int) -> Floats:
        part = slice(start, start + _CHANNELS)
        targets = problem.targets[part].astype(np.float32)
        return match_means(problem.outputs(weight, part), targets, problem.function)

    return np.concatenate(in_parallel(of_channels, range(0, len(weight), _CHANNELS)))


def shift_of(
    outputs: Floats, targets: NDArray[np.floating[Any]], function: ActivationFunction
) -> NDArray[np.float32]:
    """[channels]: what brings the means of ``outputs`` to those of ``targets``.

    Both are [channels, positions], before the activation ``function``.
    """
    if not function.kind:
        return np.asarray(targets.mean(axis=1, dtype=np.float32) - outputs.mean(axis=1))

    def of_channels(start: int) -> Floats:
        part = slice(start, start + _CHANNELS)
        return match_means(outputs[part], targets[part].astype(np.float32), function)

    return np.concatenate(in_parallel(of_channels, range(0, len(outputs), _CHANNELS)))


def match_means(outputs: Floats, targets: Floats, function: ActivationFunction) -> Floats:
    """Per channel, the shift of ``outputs`` after which the activation's mean is the targets'.

    Both are [channels, positions]. Newton steps on the mean; a channel keeps its shift only if that
    lowers its squared error after the activation.
    """
    goal = function(targets)
    mean = goal.mean(axis=1)
    shift = np.zeros(len(outputs), np.float32)
    values = function(outputs)
    before = _squared_error(values, goal)
    for _ in range(_NEWTON_STEPS):
        moved = outputs + shift[:, None]
        slope = function.slope(moved).mean(axis=1)
        gap = mean - values.mean(axis=1)
        shift += np.where(slope > 0.01, gap / np.maximum(slope, 0.05), 0).astype(np.float32)
        values = function(outputs + shift[:, None])
    after = _squared_error(values, goal)
    return np.where(after < before, shift, 0).astype(np.float32)


def _squared_error(values: Floats, goal: Floats) -> Floats:
    """[channels], of [channels, positions]."""
    error = values - goal
    return np.asarray(np.einsum("cp,cp->c", error, error), np.float32)
