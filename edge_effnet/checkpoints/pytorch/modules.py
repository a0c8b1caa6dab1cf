"""PyTorch modules of a state dict, derived from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.source import Tensors
from edge_effnet.heads import Affine, Linear

Kind = Literal["linear", "batchnorm", "layernorm", "unknown"]
EPS = 1e-5  # default of torch.nn.BatchNorm1d and LayerNorm
_STATISTICS = ("running_mean", "running_var")
_BATCH = re.compile(r"(^|[^a-z])(bn|batch)|(bn|batch_?norm)\d*$", re.IGNORECASE)


@dataclass(frozen=True)
class Module:
    """One module: name, parameters by their last name component, input and output features."""

    name: str
    kind: Kind
    parameters: Tensors
    inputs: int = 0
    outputs: int = 0
    eps: float = EPS

    @property
    def tensors(self) -> list[str]:
        """Full names of the module's tensors."""
        return [f"{self.name}.{part}" if self.name else part for part in self.parameters]

    @property
    def first(self) -> str:
        """Full name of the module's weight, or of its first tensor."""
        return f"{self.name}.weight" if "weight" in self.parameters else self.tensors[0]

    @property
    def biased(self) -> bool:
        """Whether the module has a bias."""
        return "bias" in self.parameters

    @property
    def number(self) -> tuple[str, int] | None:
        """(Name of the enclosing Sequential, position in it); None outside of a Sequential."""
        parent, _, last = self.name.rpartition(".")
        return (parent, int(last)) if last.isdigit() else None

    def linear(self) -> Linear:
        """The module, of kind linear, as a layer; a missing bias is zero."""
        weight = self.parameters["weight"]
        bias = self.parameters.get("bias", np.zeros(len(weight), np.float32))
        return Linear(weight, bias)

    def affine(self) -> Affine:
        """The module, a batch normalisation, as factor and shift at inference."""
        mean, variance = (self.parameters[name].astype(np.float64) for name in _STATISTICS)
        factor = self.scale / np.sqrt(variance + self.eps)
        return Affine(factor, self.shift - mean * factor)

    @property
    def scale(self) -> NDArray[Any]:
        """Scale (gamma) of a normalisation; ones if it has none."""
        return self.parameters.get("weight", np.ones(self.inputs)).astype(np.float64)

    @property
    def shift(self) -> NDArray[Any]:
        """Shift (beta) of a normalisation; zeros if it has none."""
        return self.parameters.get("bias", np.zeros(self.inputs)).astype(np.float64)


def modules(tensors: Tensors, names: Iterable[str]) -> list[Module]:
    """The modules with the tensors ``names``, in the order of the file."""
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name in names:
        owner, _, part = name.rpartition(".")
        groups.setdefault(owner, {})[part] = tensors[name]
    return [_module(owner, parts) for owner, parts in groups.items()]


def _module(name: str, parts: dict[str, NDArray[Any]]) -> Module:
    shapes = {part: values.shape for part, values in parts.items()}
    known = set(parts) <= {"weight", "bias", *_STATISTICS} and "num_batches_tracked" not in parts
    weight = shapes.get("weight", ())
    if known and set(_STATISTICS) <= set(parts):
        size = shapes["running_mean"]
        if len(size) == 1 and set(shapes.values()) == {size}:
            return Module(name, "batchnorm", parts, size[0], size[0])
    elif known and len(weight) == 2 and shapes.get("bias", weight[:1]) == weight[:1]:
        return Module(name, "linear", parts, weight[1], weight[0])
    elif known and len(weight) == 1 and shapes.get("bias") == weight and not _BATCH.search(name):
        return Module(name, "layernorm", parts, weight[0], weight[0])
    return Module(name, "unknown", parts)
