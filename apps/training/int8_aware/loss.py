"""Loss of int8-aware training: distance to the float network, and the labels' cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_effnet.graph import Dense, Graph


@dataclass(frozen=True)
class Outputs:
    """``logits`` [n, classes] of a network, and ``features``, the input of its last layer."""

    logits: Tensor
    features: Tensor


class WithFeatures:
    """Runs a module of a graph and returns its logits and pooled features."""

    def __init__(self, module: nn.Module, graph: Graph) -> None:
        self.module = module
        self._features: Tensor | None = None
        if isinstance(graph.by_name[graph.output], Dense):
            module.get_submodule(graph.output).register_forward_pre_hook(self._keep)

    def __call__(self, image: Tensor) -> Outputs:
        """The outputs for a batch of images."""
        logits = self.module(image)
        features, self._features = self._features, None
        return Outputs(logits, logits if features is None else features)

    def _keep(self, layer: nn.Module, inputs: Any) -> None:
        self._features = inputs[0]


def loss(
    quantized: Outputs,
    reference: Outputs,
    labels: Tensor | None,
    *,
    label_weight: float,
    softmax: bool,
) -> Tensor:
    """Mean loss of a batch.

    Args:
        quantized: Outputs of the fake-quantized network.
        reference: Outputs of the float network.
        labels: Class indices [n], or None.
        label_weight: Weight of the labels' cross-entropy.
        softmax: Whether the network's predictions are a softmax of its logits.

    Returns:
        With softmax outputs, the Kullback-Leibler divergence from the float network's predictions
        in nats (Hinton et al. 2015, arXiv 1503.02531); otherwise the logits' relative squared
        error. To it are added the relative squared error of the pooled features, and
        ``label_weight`` times the labels' cross-entropy.
    """
    value = relative_error(quantized.features, reference.features)
    if softmax:
        value = value + divergence(quantized.logits, reference.logits)
    else:
        value = value + relative_error(quantized.logits, reference.logits)
    if labels is not None and label_weight:
        value = value + label_weight * functional.cross_entropy(quantized.logits, labels)
    return value


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of softmax predictions from the reference's, in nats."""
    ours, theirs = (functional.log_softmax(values, dim=1) for values in (logits, reference))
    return functional.kl_div(ours, theirs, log_target=True, reduction="batchmean")


def relative_error(values: Tensor, reference: Tensor) -> Tensor:
    """Squared error, relative to the energy of ``reference``."""
    return (values - reference).square().sum() / reference.square().sum().clamp_min(1e-12)


def as_tensor(values: Any, device: torch.device) -> Tensor:
    """A numpy array as a tensor on ``device``."""
    return torch.from_numpy(values).to(device)
