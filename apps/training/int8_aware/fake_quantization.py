"""Fake quantization in torch: the rounding of a plan, with gradients.

Activations: q = clamp(round(x / scale) + zero_point, 0, 255), value = scale * (q - zero_point), as
`edge_effnet.calibration.plan.QuantParams`. The gradient passes through the rounding
(straight-through estimator, Bengio et al. 2013, arXiv 1308.3432) and is 0 where x is clipped. The
scale has the gradient of LSQ (Esser et al. 2020, arXiv 1902.08153, equation 3).

Weights: integers in -127..127 under the pair rule of `calibration.weights.gptq`; the gradient
passes through.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from edge_effnet.calibration.plan import LEVELS
from edge_effnet.calibration.weights import gptq


class _FakeQuantize(torch.autograd.Function):
    """Fake quantization of a uint8 tensor; a zero-dimensional ``scale`` may need a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: int) -> Tensor:
        quantized = x / scale
        quantized.round_().clamp_(-zero_point, LEVELS - zero_point).mul_(scale)
        ctx.save_for_backward(x, quantized, scale)
        ctx.zero_point = zero_point
        return quantized

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, quantized, scale = ctx.saved_tensors
        low, high = -ctx.zero_point - 0.5, LEVELS - ctx.zero_point + 0.5
        step = float(scale)
        passed = torch.ops.aten.hardtanh_backward(gradient, x, low * step, high * step)
        if not ctx.needs_input_grad[1]:
            return passed, None, None
        # LSQ: d value / d scale is round(x / scale) - x / scale, or the limit where x is clipped.
        total = torch.dot(gradient.flatten(), quantized.flatten())
        total -= torch.dot(passed.flatten(), x.flatten())
        return passed, total / scale, None


def fake_quantize(x: Tensor, scale: Tensor | float, zero_point: int) -> Tensor:
    """``x`` quantized to uint8 and dequantized, of the same shape.

    Args:
        x: float32 tensor.
        scale: The quantization step; a tensor without dimensions learns.
        zero_point: The integer that represents 0.
    """
    step = scale if isinstance(scale, Tensor) else torch.tensor(scale, device=x.device)
    return cast("Tensor", _FakeQuantize.apply(x, step, zero_point))


def straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    """``rounded``, with the gradient of ``value``."""
    return value + (rounded - value).detach()


def rounded_weights(weight: Tensor, pairs: int) -> Tensor:
    """Integers of a layer's weights, without gradient.

    Args:
        weight: Weights in units of their channel's scale, OIHW or [out, in].
        pairs: Stride of the pair rule (`gptq.pair_stride`); 0 for no pair rule.

    Returns:
        Integers in -127..127 as float32, of the shape of ``weight``.
    """
    integers = weight.detach().round().clamp(-gptq.LIMIT, gptq.LIMIT)
    if not pairs:
        return integers
    ordered = integers.permute(0, 2, 3, 1) if integers.dim() == 4 else integers
    matrix = ordered.reshape(len(integers), -1)
    rows = torch.zeros(len(matrix), dtype=torch.bool, device=matrix.device)
    for offset in range(3 - pairs):  # only rows with a violation are copied to numpy
        end = offset + (matrix.shape[1] - offset) // 2 * 2
        sums = matrix[:, offset:end:2] + matrix[:, offset + 1 : end : 2]
        rows |= (sums.abs() > gptq.PAIR_LIMIT).any(1)
    if not rows.any():
        return integers
    violating = matrix[rows].cpu().numpy()
    limited = gptq.limit_pairs(violating, np.ones_like(violating), pairs)
    matrix = matrix.clone()
    matrix[rows] = torch.from_numpy(limited).to(matrix.device)
    matrix = matrix.reshape(ordered.shape)
    return matrix.permute(0, 3, 1, 2).contiguous() if integers.dim() == 4 else matrix
