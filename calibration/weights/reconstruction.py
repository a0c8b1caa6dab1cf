"""Layer reconstruction: int8 weights and a bias that reproduce a layer's float outputs.

One layer is quantized from its quantized inputs, its float targets and its float weights:

1. Least-squares weight correction: the weights are fitted to the float outputs, which compensates
   the error of the quantized inputs. The fit is a ridge regression that penalises the squared
   distance to the float weights. The factor of the penalty is selected on held-out samples. If no
   factor lowers the error on the held-out samples, the float weights are used.
2. Scale search and GPTQ (`calibration.weights.gptq`) on the covariance of the quantized inputs.
3. Bias correction: a constant is added to the bias of each output channel, so that the channel's
   mean after the activation equals the float network's. The constant is kept only if it reduces the
   channel's squared error.

Without an activation, the squared error is a quadratic form in the change of the weights. All steps
then need only the second moments, which are accumulated once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import ActivationFunction, Floats
from edge_effnet.calibration.engine import in_parallel
from edge_effnet.calibration.weights import gptq
from edge_effnet.calibration.weights.gptq import DAMPING
from edge_effnet.calibration.weights.layer_inputs import (
    LayerInputs,
    channel_groups,
    sum_over_positions,
)

#: Ridge penalties of the weight correction, as fractions of the inputs' mean variance.
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_HELD_OUT = 4  # one sample in 4 is held out
_HELD_OUT_POSITIONS = 512  # largest number of held-out positions if an activation follows
_NEWTON_STEPS = 3


@dataclass(frozen=True)
class LayerReconstruction:
    """The inputs, float targets and float parameters of one layer.

    Attributes:
        inputs: The inputs at the sampled positions.
        targets: The float network's outputs before the activation, [out, positions].
        weight: Float weights [out, k].
        bias: Float bias [out].
        function: The activation that follows.
        pairs: Stride of the pair rule (`gptq.pair_stride`); 0 for no pair rule.
    """

    inputs: LayerInputs
    targets: NDArray[np.floating[Any]]
    weight: Floats
    bias: Floats
    function: ActivationFunction
    pairs: int = 0

    @property
    def depthwise(self) -> bool:
        """Whether the layer is depthwise: each output channel reads one input channel."""
        return self.inputs.depthwise

    def mean_outputs(self, weight: Floats) -> Floats:
        """Mean outputs [out] with ``weight`` and the float bias, before the activation."""
        return np.asarray((weight * self.inputs.mean).sum(axis=1) + self.bias)

    def outputs(self, weight: Floats, channels: slice) -> Floats:
        """Outputs [channels, positions] with ``weight`` and the bias, before the activation."""
        part = weight[channels]
        if self.depthwise:
            products = (self.inputs.values(channels) @ part[:, :, None])[:, :, 0]
        else:
            products = part @ self.inputs.values().T
        products += self.mean_outputs(weight)[channels, None]
        return np.asarray(products)

    def subsample(self, start: int, most: int) -> LayerReconstruction:
        """The same layer on at most ``most`` of its positions from ``start`` on."""
        stride = -(-(self.targets.shape[1] - start) // most)
        part = slice(start, None, stride)
        return replace(self, inputs=self.inputs.at(part), targets=self.targets[:, part])

    def error(self, weight: Floats) -> float:
        """Squared error with ``weight`` after bias correction and the activation."""

        def errors(channels: slice) -> Floats:
            outputs = self.outputs(weight, channels)
            targets = self.targets[channels].astype(np.float32)
            outputs += channel_bias_correction(outputs, targets, self.function)[:, None]
            return _squared_error(self.function(outputs), self.function(targets))

        if self.depthwise:
            return float(_by_channels(errors, len(weight)).sum())
        return float(errors(slice(None)).sum())


@dataclass(frozen=True)
class QuantizedLayer:
    """A quantized layer: ``integers`` int8 [out, k], ``scale`` and ``bias`` float32 [out]."""

    integers: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: Floats

    @classmethod
    def of_groups(cls, parts: Sequence[QuantizedLayer]) -> QuantizedLayer:
        """A grouped convolution from its groups, in order."""
        if len(parts) == 1:
            return parts[0]
        integers, scale, bias = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("integers", "scale", "bias")
        )
        return cls(integers, scale, bias)


@dataclass(frozen=True)
class Method:
    """The steps of layer reconstruction that a recipe applies, and their options."""

    weight_correction: bool = True
    gptq: bool = True
    damping: float = DAMPING
    bias_correction: bool = True
    per_tensor: bool = False


@dataclass(frozen=True)
class InputMoments:
    """First and second moments of a layer's inputs and targets, as sums over ``count`` positions.

    Attributes:
        count: Number of positions.
        inputs: Sum of the inputs, [k], or [out, k] if depthwise.
        targets: Sum of the targets, [out].
        squares: Sum of the inputs' outer products, [k, k], or [out, k, k] if depthwise.
        products: Sum of the products of targets and inputs, [out, k].
    """

    count: int
    inputs: Floats
    targets: Floats
    squares: Floats
    products: Floats

    @classmethod
    def of(cls, inputs: Floats, targets: Floats) -> InputMoments:
        """Moments of ``inputs``, as `LayerInputs.values`, and ``targets`` [out, positions]."""
        squares = np.swapaxes(inputs, -1, -2) @ inputs
        depthwise = inputs.ndim == 3
        products = (targets[:, None] @ inputs)[:, 0] if depthwise else targets @ inputs
        return cls(
            targets.shape[1], sum_over_positions(inputs), targets.sum(axis=1), squares, products
        )

    @classmethod
    def of_channels(cls, parts: Sequence[InputMoments]) -> InputMoments:
        """Moments of a depthwise layer from those of consecutive groups of its channels."""
        inputs, targets, squares, products = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("inputs", "targets", "squares", "products")
        )
        return cls(parts[0].count, inputs, targets, squares, products)

    def __add__(self, other: InputMoments) -> InputMoments:
        return InputMoments(
            self.count + other.count,
            self.inputs + other.inputs,
            self.targets + other.targets,
            self.squares + other.squares,
            self.products + other.products,
        )

    def hessian(self) -> Floats:
        """Covariance of the inputs, [k, k] or [out, k, k].

        The mean is subtracted, because bias correction removes the mean error.
        """
        mean = self.inputs / np.float32(self.count)
        return np.asarray(
            self.squares / np.float32(self.count) - mean[..., :, None] * mean[..., None, :]
        )

    def gradient(self, weight: Floats) -> Floats:
        """Negative half gradient [out, k] of the mean squared error at ``weight``."""
        share = np.float32(1 / self.count)
        covariance = self.products * share - (self.targets * share)[:, None] * (self.inputs * share)
        return np.asarray(covariance - _times(weight, self.hessian()))


def quantize_layer(layer: LayerReconstruction, method: Method) -> QuantizedLayer:
    """Reconstruct one layer with int8 weights.

    Args:
        layer: Inputs, targets and float parameters of the layer.
        method: The steps to apply.

    Returns:
        Integers, scales and the corrected float bias.
    """
    fitting, held_out = _split_moments(layer)
    weight = layer.weight
    if method.weight_correction:
        weight = correct_weights(layer, fitting, held_out)
    hessian = (fitting + held_out).hessian()
    importance = np.maximum(np.diagonal(hessian, axis1=-2, axis2=-1), 1e-12)
    scale = gptq.choose_scale(weight, importance, layer.pairs, method.per_tensor)
    if not method.gptq:
        integers = gptq.nearest(weight, scale, importance, layer.pairs)
    elif layer.depthwise:
        integers = gptq.gptq_depthwise(weight, scale, hessian, method.damping)
    else:
        integers = gptq.gptq(weight, scale, hessian, layer.pairs, method.damping)
    bias = layer.bias
    if method.bias_correction:
        dequantized = integers.astype(np.float32) * scale[:, None]
        bias = bias + _layer_bias_correction(layer, dequantized)
    return QuantizedLayer(integers, scale, bias)


def fit_float_layer(layer: LayerReconstruction, method: Method) -> tuple[Floats, Floats]:
    """Reconstruct a layer that stays in float: corrected weight [out, k] and bias [out].

    Args:
        layer: Inputs, targets and float parameters of the layer.
        method: The steps to apply, except rounding.

    Returns:
        The corrected weight and bias.
    """
    weight, bias = layer.weight, layer.bias
    if method.weight_correction:
        weight = correct_weights(layer, *_split_moments(layer))
    if method.bias_correction:
        bias = bias + _layer_bias_correction(layer, weight)
    return weight, bias


def _split_moments(layer: LayerReconstruction) -> tuple[InputMoments, InputMoments]:
    """The moments of the positions for the fit, and of the last positions, which are held out."""
    split = layer.targets.shape[1] - layer.targets.shape[1] // _HELD_OUT
    mean = layer.targets.mean(axis=1, dtype=np.float32)

    def moments(positions: slice) -> InputMoments:
        inputs = layer.inputs.at(positions)

        def of(channels: slice) -> InputMoments:
            targets = layer.targets[channels, positions] - mean[channels, None]
            return InputMoments.of(inputs.values(channels), targets)

        if layer.depthwise:
            return InputMoments.of_channels(in_parallel(of, channel_groups(len(mean))))
        return of(slice(None))

    return moments(slice(0, split)), moments(slice(split, None))


def correct_weights(
    layer: LayerReconstruction, fitting: InputMoments, held_out: InputMoments
) -> Floats:
    """Least-squares weight correction: the weights [out, k] fitted to the float outputs.

    Args:
        layer: Inputs, targets and float parameters.
        fitting: Moments of the positions that candidates are fitted to.
        held_out: Moments of the positions that select the ridge penalty.

    Returns:
        Weights fitted to all positions with the best penalty; the float weights if no penalty
        reduces the error on the held-out positions.
    """
    if held_out.count < 2:
        return layer.weight
    gradient, hessian = fitting.gradient(layer.weight), fitting.hessian()
    held_out_gradient, held_out_hessian = held_out.gradient(layer.weight), held_out.hessian()
    subsample = layer.subsample(fitting.count, _HELD_OUT_POSITIONS)
    least = subsample.error(layer.weight) if layer.function.kind else 0.0
    best = None
    for penalty, descent in _descents(hessian, gradient):
        if layer.function.kind:
            error = subsample.error(layer.weight + descent)
        else:
            curvature = _times(descent, held_out_hessian)
            error = float((descent * (curvature - 2 * held_out_gradient)).sum())
        if error < least:
            best, least = penalty, error
        elif best is not None:
            break  # smaller penalties increase the error
    if best is None:
        return layer.weight
    both = fitting + held_out
    return layer.weight + _descent(both.hessian(), both.gradient(layer.weight), best)


def _times(weight: Floats, hessian: Floats) -> Floats:
    """The product of ``weight`` [out, k] and ``hessian``, [k, k] or [out, k, k]: [out, k]."""
    if hessian.ndim == 3:
        return np.asarray((weight[:, None] @ hessian)[:, 0])
    return np.asarray(weight @ hessian)


def _descent(hessian: Floats, gradient: Floats, penalty: float) -> Floats:
    """The change of the weights [out, k] that minimises the ridge-penalised squared error.

    float32 suffices, because the ridge penalty keeps the Hessian well conditioned.
    """
    damped = gptq.damp(hessian, penalty).astype(np.float32)
    if hessian.ndim == 3:
        return np.asarray(np.linalg.solve(damped, gradient[..., None])[..., 0])
    return np.asarray(np.linalg.solve(damped, gradient.T).T)


def _descents(hessian: Floats, gradient: Floats) -> Iterator[tuple[float, Floats]]:
    """Pairs of ridge penalty and `_descent`, the largest penalty first, computed two at a time."""
    largest_first = PENALTIES[::-1]
    for start in range(0, len(largest_first), 2):
        pair = largest_first[start : start + 2]
        yield from zip(pair, in_parallel(partial(_descent, hessian, gradient), pair), strict=True)


def _layer_bias_correction(layer: LayerReconstruction, weight: Floats) -> Floats:
    """Bias correction [out] of ``layer`` with ``weight``."""
    if not layer.function.kind:
        mean = layer.targets.mean(axis=1, dtype=np.float32)
        return np.asarray(mean - layer.mean_outputs(weight))

    def correction(channels: slice) -> Floats:
        targets = layer.targets[channels].astype(np.float32)
        return channel_bias_correction(layer.outputs(weight, channels), targets, layer.function)

    return _by_channels(correction, len(weight))


def bias_correction(
    outputs: Floats, targets: NDArray[np.floating[Any]], function: ActivationFunction
) -> NDArray[np.float32]:
    """The constants to add to the bias so that outputs and targets have equal means: [channels].

    Args:
        outputs: Outputs before the activation, [channels, positions].
        targets: Outputs of the float network before the activation, [channels, positions].
        function: The activation after which means are matched.

    Returns:
        The correction; 0 for channels whose squared error would not decrease.
    """
    if not function.kind:
        return np.asarray(targets.mean(axis=1, dtype=np.float32) - outputs.mean(axis=1))

    def correction(channels: slice) -> Floats:
        targets_part = targets[channels].astype(np.float32)
        return channel_bias_correction(outputs[channels], targets_part, function)

    return _by_channels(correction, len(outputs))


def _by_channels(correction: Callable[[slice], Floats], channels: int) -> Floats:
    """Evaluate ``correction`` for a few channels at a time, in parallel: [channels]."""
    return np.concatenate(in_parallel(correction, channel_groups(channels)))


def channel_bias_correction(
    outputs: Floats, targets: Floats, function: ActivationFunction
) -> Floats:
    """`bias_correction` after an activation [channels], by Newton's method on the channel means."""
    goal = function(targets)
    mean = goal.mean(axis=1)
    correction = np.zeros(len(outputs), np.float32)
    values = function(outputs)
    before = _squared_error(values, goal)
    for _ in range(_NEWTON_STEPS):
        corrected = outputs + correction[:, None]
        slope = function.slope(corrected).mean(axis=1)
        gap = mean - values.mean(axis=1)
        correction += np.where(slope > 0.01, gap / np.maximum(slope, 0.05), 0).astype(np.float32)
        values = function(outputs + correction[:, None])
    after = _squared_error(values, goal)
    return np.where(after < before, correction, 0).astype(np.float32)


def _squared_error(values: Floats, goal: Floats) -> Floats:
    """Squared error summed over the positions: [channels, positions] -> [channels]."""
    error = values - goal
    return np.asarray(np.einsum("cp,cp->c", error, error), np.float32)
