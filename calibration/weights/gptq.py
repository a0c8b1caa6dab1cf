"""GPTQ: int8 weights with one scale per output channel that preserve a layer's output.

The algorithm (Frantar et al. 2022, arXiv 2210.17323), for all output channels at once:

1. Scale: the candidates are multiples of max|w| / 127 per channel (`RATIOS`). The one with the
   least squared rounding error, weighted by the Hessian's diagonal, is used.
2. Hessian: the covariance of the layer's quantized inputs. Damping adds a fraction of the mean
   diagonal to the diagonal.
3. Factorize the damped Hessian as L.T @ diag(d) @ L with L unit lower triangular.
4. Column i: subtract the compensation L[i, :i] @ e[:i] for the errors e of the columns already
   quantized, round to int8, and record the error e[i].
5. Columns are processed in blocks, so that most of step 4 is one matrix product per block.

Without the compensation of step 4, GPTQ is rounding to nearest.

Shapes: ``weight`` is [out, k], ``hessian`` is [k, k], for depthwise layers [out, k, k]. k runs over
(height, width, input channel), the order in which integer kernels accumulate.

The pair rule: |w1 + w2| <= 128 for the two weights of a pair of adjacent columns. x86 CPUs without
VNNI multiply uint8 inputs by int8 weights and add the two products of a pair in 16 bits, which may
saturate. With the pair rule the sum is at most 255 * 128 < 2**15, so it does not saturate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 127
PAIR_LIMIT = 128
#: Candidate scales, relative to max|w| / 127. No candidate clips a weight, because clipping lowers
#: the error on the calibration photos and raises it on others. 127/64 satisfies the pair rule for
#: any weights.
RATIOS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 127 / 64)
#: Damping as a fraction of the Hessian's mean diagonal. The GPTQ paper's 0.01 suits thousands of
#: samples. With a hundred photos, the small eigenvalues of the Hessian are unreliable. Top-1
#: agreement at 0.01: Lite0 99.1 %, Lite1 98.7 %; at 0.3: Lite0 99.3 %, Lite1 99.1 %, Lite2 99.3 %.
DAMPING = 0.3
_BLOCK = 64  # columns in a block of step 5

Matrix = NDArray[np.float32]


def base_scale(weight: Matrix) -> NDArray[np.float32]:
    """max|w| / 127 of each output channel, [out]; 1 for a dead channel, where that is 0."""
    scale = (np.abs(weight).max(axis=1) / LIMIT).astype(np.float32)
    return np.where(scale > 0, scale, np.float32(1))


def pair_stride(input_channels: int) -> int:
    """Stride of the pair rule: distance along k between the first columns of possible pairs.

    With an even number of input channels, pairs start at even columns only: the stride is 2. With
    an odd number, the next kernel position starts at an odd column, so any two adjacent columns may
    form a pair: the stride is 1.
    """
    return 2 if input_channels % 2 == 0 else 1


def choose_scale(
    weight: Matrix, importance: Matrix, pairs: int, per_tensor: bool = False
) -> NDArray[np.float32]:
    """For each output channel, the scale that minimises the weighted squared rounding error: [out].

    Args:
        weight: Float weights [out, k].
        importance: The Hessian's diagonal, [k] or [out, k], which weights squared errors.
        pairs: Stride (`pair_stride`) of the pairs of adjacent columns whose integers are limited to
            |w1 + w2| <= 128 (the pair rule); 0 for no limit.
        per_tensor: Whether all channels share one scale.

    Returns:
        float32 scales: `base_scale` times one of `RATIOS`, chosen for each channel.
    """
    base = base_scale(weight)
    if per_tensor:
        base = np.full_like(base, np.abs(weight).max() / LIMIT or 1.0)
    best = base.copy()
    best_error = np.full(len(weight), np.inf)
    importance = np.broadcast_to(importance, weight.shape)
    for ratio in RATIOS:
        scale = (base * np.float32(ratio))[:, None]
        scaled = weight / scale
        rounded = nearest(weight, scale[:, 0], importance, pairs)
        error = (importance * ((rounded - scaled) * scale) ** 2).sum(axis=1)
        if per_tensor:
            error = np.full_like(error, error.sum())
        better = error < best_error
        best[better], best_error[better] = scale[better, 0], error[better]
    return best


def nearest(
    weight: Matrix, scale: NDArray[np.float32], importance: Matrix, pairs: int
) -> NDArray[np.int8]:
    """Weights rounded to nearest, int8 [out, k].

    ``pairs`` is the stride of the pair rule, which then limits |w1 + w2|; 0 for no pair rule.
    """
    rounded = np.clip(np.rint(weight / scale[:, None]), -LIMIT, LIMIT)
    if pairs:
        rounded = limit_pairs(rounded, np.broadcast_to(importance, weight.shape), pairs)
    return np.asarray(rounded, np.int8)


def limit_pairs(integers: Matrix, importance: Matrix, stride: int) -> Matrix:
    """``integers`` [out, k] after reducing pairs of equal sign to |w1 + w2| <= 128.

    The weight of a pair with the lower ``importance`` [out, k] is reduced more.
    """
    limited = integers.copy()
    # Pairs with even starts, then those with odd ones: reducing violates no earlier pair.
    for offset in range(3 - stride):
        end = offset + (limited.shape[1] - offset) // 2 * 2
        first, second = limited[:, offset:end:2], limited[:, offset + 1 : end : 2]
        first_weight, second_weight = (
            importance[:, offset:end:2],
            importance[:, offset + 1 : end : 2],
        )
        excess = _excess(first, second)
        total = first_weight + second_weight + np.float32(1e-30)
        share = np.ceil(excess * second_weight / total)
        sign = np.sign(first)
        first -= sign * share
        second -= sign * (excess - share)
    return limited


def _excess(first: Matrix, second: Matrix) -> Matrix:
    """Excess of |first + second| over 128 for each pair of equal sign; 0 for all other pairs."""
    sizes = np.minimum(np.abs(first), LIMIT) + np.minimum(np.abs(second), LIMIT)
    return np.where(first * second > 0, np.maximum(sizes - PAIR_LIMIT, 0), 0).astype(np.float32)


def gptq(
    weight: Matrix,
    scale: NDArray[np.float32],
    hessian: Matrix,
    pairs: int,
    damping: float = DAMPING,
) -> NDArray[np.int8]:
    """Weights quantized by GPTQ, int8 [out, k].

    Args:
        weight: Float weights [out, k].
        scale: Scale of each output channel [out].
        hessian: Covariance of the inputs [k, k].
        pairs: Stride of the pair rule (`pair_stride`); 0 for no pair rule.
        damping: Fraction of the Hessian's mean diagonal to add to the diagonal.

    Returns:
        Integers in -127..127 that satisfy the pair rule.
    """
    k = weight.shape[1]
    factor, importance = _factor(hessian, damping)
    scaled = np.ascontiguousarray((weight / scale[:, None]).T, np.float32)  # [k, out]
    errors = np.zeros_like(scaled)  # rounding errors; 0 for columns not quantized yet
    integers = np.empty_like(scaled)
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        compensated = scaled[start : stop + 1] - factor[start : stop + 1, :start] @ errors[:start]
        for column in range(start, stop):
            done = slice(start, column)
            value = compensated[column - start] - factor[column, done] @ errors[done]
            low, high = np.full_like(value, -LIMIT), np.full_like(value, LIMIT)
            if pairs and column % pairs == 0 and column + 1 < k:
                # The compensated weight of the pair's second column if the first had no error.
                partner = compensated[column - start + 1] - factor[column + 1, done] @ errors[done]
                partner -= factor[column + 1, column] * (value - scaled[column])
                value = _limit_first(value, partner, importance[column : column + 2])
            if pairs and column > 0 and (column - 1) % pairs == 0:
                before = integers[column - 1]
                high = np.where(before > 0, np.minimum(PAIR_LIMIT - before, LIMIT), LIMIT)
                low = np.where(before < 0, np.maximum(-PAIR_LIMIT - before, -LIMIT), -LIMIT)
            integers[column] = np.clip(np.rint(value), low, high)
            errors[column] = integers[column] - scaled[column]
    return np.ascontiguousarray(integers.T, np.int8)


def gptq_depthwise(
    weight: Matrix,
    scale: NDArray[np.float32],
    hessian: NDArray[np.float32],
    damping: float = DAMPING,
) -> NDArray[np.int8]:
    """`gptq` of a depthwise layer, whose ``hessian`` is [out, k, k]; int8 [out, k].

    The pair rule does not apply: depthwise kernels add no adjacent products in 16 bits.
    """
    factor, _ = _factor(hessian, damping)
    scaled = (weight / scale[:, None]).astype(np.float32)
    errors = np.zeros_like(scaled)
    integers = np.empty(weight.shape, np.int8)
    for column in range(weight.shape[1]):
        compensation = (factor[:, column, :column] * errors[:, :column]).sum(axis=1)
        rounded = np.clip(np.rint(scaled[:, column] - compensation), -LIMIT, LIMIT)
        integers[:, column] = rounded
        errors[:, column] = rounded - scaled[:, column]
    return integers


def _limit_first(
    value: NDArray[np.float32], partner: NDArray[np.float32], importance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``value``, a pair's first weight, reduced by its part of the pair's excess over 128.

    ``partner`` is the second weight. ``importance`` [2] divides the excess between the two.
    """
    share = importance[1] / (importance[0] + importance[1])
    return np.asarray(value - np.sign(value) * _excess(value, partner) * share, np.float32)


def damp(hessian: NDArray[np.floating[Any]], damping: float) -> NDArray[np.float64]:
    """The Hessian [..., k, k] plus ``damping`` times its mean diagonal, in float64."""
    h = hessian.astype(np.float64)
    mean = np.trace(h, axis1=-2, axis2=-1) / h.shape[-1]
    diagonal = np.einsum("...ii->...i", h)
    diagonal += (damping * mean + 1e-12)[..., None]
    return h


def _factor(
    hessian: NDArray[np.float32], damping: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors L and d of the damped Hessian, which equals L.T @ diag(d) @ L.

    L [..., k, k] is lower triangular with ones on its diagonal; d is [..., k].

    With the rounding errors e, the squared error of the outputs is the sum over the columns i of
    d[i] * (e[i] + L[i, :i] @ e[:i]) ** 2. Rounding column i from its float value minus
    L[i, :i] @ e[:i] minimises the term of column i.
    """
    reverse = (..., slice(None, None, -1), slice(None, None, -1))
    try:
        upper = np.linalg.cholesky(damp(hessian, damping)[reverse])[reverse]
    except np.linalg.LinAlgError:
        repaired = _positive_semidefinite(hessian)
        upper = np.linalg.cholesky(damp(repaired, damping)[reverse])[reverse]
    diagonal = np.einsum("...ii->...i", upper)
    lower = np.swapaxes(upper, -1, -2) / diagonal[..., :, None]
    return np.ascontiguousarray(lower, np.float32), np.square(diagonal).astype(np.float32)


def _positive_semidefinite(hessian: NDArray[np.float32]) -> NDArray[np.float64]:
    """The Hessian [..., k, k] with its negative eigenvalues set to 0.

    A float32 covariance has negative eigenvalues if the mean is large and the variance near zero.
    """
    values, vectors = np.linalg.eigh(hessian.astype(np.float64))
    scaled = vectors * np.maximum(values, 0)[..., None, :]
    return np.asarray(scaled @ np.swapaxes(vectors, -1, -2))
