"""Float weights -> int8, one scale per output channel, rounded to keep the layer's output.

Shapes: ``weight`` is [out, k] with k running over (height, width, input channel), the order in
which integer kernels walk; ``hessian`` is [k, k], the covariance of the layer's quantized inputs
over calibration positions (for depthwise layers [out, k, k], one per channel).

Rounding follows GPTQ (Frantar et al. 2022, arXiv 2210.17323): columns are rounded one after another
and each one's error is spread over those still open, weighted by the inverse Hessian.

The pair rule: 8-bit dot products of x86 machines without VNNI add two neighbouring products in 16
bits, with unsigned inputs up to 255. Where the two weights of a pair have one sign and together
stay within 128, 255 * 128 < 2**15 and nothing saturates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIMIT = 127
PAIR_LIMIT = 128
#: Candidate scales, relative to max|w| / 127. None clips a weight: that fits the calibration photos
#: better and others worse. 127/64 satisfies the pair rule whatever the weights are.
RATIOS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 127 / 64)
#: Damping as a share of the Hessian's mean diagonal. GPTQ's 0.01 suits thousands of samples; with
#: about a hundred photos, directions that they hardly excite must not be trusted. Measured on
#: Lite0, Lite1 and Lite2: agreement 99.1, 98.7 % at 0.01 (Lite0, Lite1), 99.3, 99.1, 99.3 % at 0.3.
DAMPING = 0.3
_BLOCK = 64

Matrix = NDArray[np.float32]


def base_scale(weight: Matrix) -> NDArray[np.float32]:
    """max|w| / 127 of each row; 1 for a dead (all zero) channel."""
    peak = np.abs(weight).max(axis=1)
    return np.where(peak > 0, peak / LIMIT, 1.0).astype(np.float32)


def pair_step(input_channels: int) -> int:
    """Distance between the starts of the pairs that a kernel may form along k.

    2 where they can only start at even columns; 1 (every neighbour) with an odd number of input
    channels, for the next kernel position then starts at an odd column. 0 stands for no rule.
    """
    return 2 if input_channels % 2 == 0 else 1


def choose_scale(
    weight: Matrix, importance: Matrix, pairs: int, per_tensor: bool = False
) -> NDArray[np.float32]:
    """The scale of each row, among `RATIOS`, with the least ``importance``-weighted rounding error.

    ``importance`` is the Hessian's diagonal, [k] or [out, k]; ``pairs`` as in `pair_step`. With
    ``per_tensor`` all rows share one scale.
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
    """int8 [out, k]: every weight to its nearest level, pairs limited where ``pairs`` asks."""
    rounded = np.clip(np.rint(weight / scale[:, None]), -LIMIT, LIMIT)
    if pairs:
        rounded = limit_pairs(rounded, np.broadcast_to(importance, weight.shape), pairs)
    return np.asarray(rounded, np.int8)


def limit_pairs(integers: Matrix, importance: Matrix, step: int) -> Matrix:
    """Shrink pairs of one sign whose sum exceeds 128; the less important member gives way more."""
    limited = integers.copy()
    for offset in range(3 - step):  # even starts, then odd ones: shrinking undoes no earlier pair
        end = offset + (limited.shape[1] - offset) // 2 * 2
        first, second = limited[:, offset:end:2], limited[:, offset + 1 : end : 2]
        ours, theirs = importance[:, offset:end:2], importance[:, offset + 1 : end : 2]
        excess = _excess(first, second)
        share = np.ceil(excess * theirs / (ours + theirs + np.float32(1e-30)))
        sign = np.sign(first)
        first -= sign * share
        second -= sign * (excess - share)
    return limited


def _excess(first: Matrix, second: Matrix) -> Matrix:
    """By how much each pair of one sign exceeds 128, else 0."""
    sizes = np.minimum(np.abs(first), LIMIT) + np.minimum(np.abs(second), LIMIT)
    return np.where(first * second > 0, np.maximum(sizes - PAIR_LIMIT, 0), 0).astype(np.float32)


def gptq(
    weight: Matrix,
    scale: NDArray[np.float32],
    hessian: Matrix,
    pairs: int,
    damping: float = DAMPING,
) -> NDArray[np.int8]:
    """int8 [out, k]: each column rounded from where it does best, given those rounded before it.

    ``pairs`` is the `pair_step`, or 0 for no rule.
    """
    k = weight.shape[1]
    factor, importance = _factor(hessian, damping)
    wanted = np.ascontiguousarray((weight / scale[:, None]).T, np.float32)  # a row for each column
    errors = np.zeros_like(wanted)  # of the integers, 0 where there is none yet
    integers = np.empty_like(wanted)
    for start in range(0, k, _BLOCK):
        stop = min(start + _BLOCK, k)
        best = wanted[start : stop + 1] - factor[start : stop + 1, :start] @ errors[:start]
        for column in range(start, stop):
            done = slice(start, column)
            value = best[column - start] - factor[column, done] @ errors[done]
            low, high = np.full_like(value, -LIMIT), np.full_like(value, LIMIT)
            if pairs and column % pairs == 0 and column + 1 < k:
                # Where the partner would do best if this column could stay as it is now.
                partner = best[column - start + 1] - factor[column + 1, done] @ errors[done]
                partner -= factor[column + 1, column] * (value - wanted[column])
                value = _leave_room(value, partner, importance[column : column + 2])
            if pairs and column > 0 and (column - 1) % pairs == 0:
                before = integers[column - 1]
                high = np.where(before > 0, np.minimum(PAIR_LIMIT - before, LIMIT), LIMIT)
                low = np.where(before < 0, np.maximum(-PAIR_LIMIT - before, -LIMIT), -LIMIT)
            integers[column] = np.clip(np.rint(value), low, high)
            errors[column] = integers[column] - wanted[column]
    return np.ascontiguousarray(integers.T, np.int8)


def gptq_depthwise(
    weight: Matrix,
    scale: NDArray[np.float32],
    hessian: NDArray[np.float32],
    damping: float = DAMPING,
) -> NDArray[np.int8]:
    """`gptq` with a Hessian [out, k, k] of each channel's own; the pair rule does not apply."""
    factor, _ = _factor(hessian, damping)
    wanted = (weight / scale[:, None]).astype(np.float32)
    errors = np.zeros_like(wanted)
    integers = np.empty(weight.shape, np.int8)
    for column in range(weight.shape[1]):
        owed = (factor[:, column, :column] * errors[:, :column]).sum(axis=1)
        rounded = np.clip(np.rint(wanted[:, column] - owed), -LIMIT, LIMIT)
        integers[:, column] = rounded
        errors[:, column] = rounded - wanted[:, column]
    return integers


def _leave_room(
    value: NDArray[np.float32], partner: NDArray[np.float32], importance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``value`` shrunk so that the pair's second member keeps its share of 128."""
    share = importance[1] / (importance[0] + importance[1])
    return np.asarray(value - np.sign(value) * _excess(value, partner) * share, np.float32)


def damp(hessian: NDArray[np.float32], damping: float) -> NDArray[np.float64]:
    """The Hessian plus ``damping`` times its mean diagonal; batched over leading dimensions."""
    h = hessian.astype(np.float64)
    mean = np.trace(h, axis1=-2, axis2=-1) / h.shape[-1]
    diagonal = np.einsum("...ii->...i", h)
    diagonal += (damping * mean + 1e-12)[..., None]
    return h


def _factor(
    hessian: NDArray[np.float32], damping: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lower L with ones on its diagonal, and d: the damped Hessian is L.T @ diag(d) @ L.

    So the cost of errors e is the sum of d[i] * (e[i] + L[i, :i] @ e[:i]) ** 2, in which column i
    meets only those before it: given them, it does best at -L[i, :i] @ e[:i] from where it was,
    and ``d`` is what rounding it costs while the later ones adapt. Batched over leading dimensions.
    """
    reverse = (..., slice(None, None, -1), slice(None, None, -1))
    upper = np.linalg.cholesky(damp(hessian, damping)[reverse])[reverse]
    diagonal = np.einsum("...ii->...i", upper)
    lower = np.swapaxes(upper, -1, -2) / diagonal[..., :, None]
    return np.ascontiguousarray(lower, np.float32), np.square(diagonal).astype(np.float32)
