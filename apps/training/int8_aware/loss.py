"""Loss of int8-aware training: distance to the float network, and the labels' cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from edge_effnet.graph import Dense, Graph

_SMALLEST = 1e-12  # lower bound of energies that errors are divided by


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
    """Mean loss of a batch: the relative squared error of the features, plus `photo_losses`.

    Args:
        quantized: Outputs of the fake-quantized network.
        reference: Outputs of the float network.
        labels: Class indices [n], or None.
        label_weight: Weight of the labels' cross-entropy.
        softmax: Whether the network's predictions are a softmax of its logits.
    """
    error = (quantized.features - reference.features).square().sum()
    value = error / reference.features.square().sum().clamp_min(_SMALLEST)
    return (
        value
        + photo_losses(
            quantized.logits, reference.logits, labels, label_weight=label_weight, softmax=softmax
        ).mean()
    )


def photo_losses(
    logits: Tensor,
    reference: Tensor,
    labels: Tensor | None,
    *,
    label_weight: float,
    softmax: bool,
) -> Tensor:
    """Loss of each photo's logits [n]; arguments as in `loss`.

    With softmax outputs, the Kullback-Leibler divergence from the float network's predictions in
    nats (Hinton et al. 2015, arXiv 1503.02531); otherwise the squared error of the logits, relative
    to their mean energy. ``label_weight`` times the labels' cross-entropy is added.
    """
    if softmax:
        ours, theirs = (functional.log_softmax(values, dim=1) for values in (logits, reference))
        values = functional.kl_div(ours, theirs, log_target=True, reduction="none").sum(1)
    else:
        energy = reference.square().sum(1).mean().clamp_min(_SMALLEST)
        values = (logits - reference).square().sum(1) / energy
    if labels is not None and label_weight:
        entropy = functional.cross_entropy(logits, labels, reduction="none")
        values = values + label_weight * entropy
    return values
