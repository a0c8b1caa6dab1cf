"""Cross-layer equalization: the same function with weights that one scale for a whole layer suits.

Multiplying channel c of a tensor by s_c > 0 changes nothing where every layer that makes the tensor
has its rows multiplied by s_c and every layer that reads it has its columns divided by s_c (Nagel
et al. 2019, arXiv 1906.04721). A tensor shares its factors with those that it turns into through
sums, means, maxima, gates and ReLU. Nothing passes swish, sigmoid or ReLU6: of such a network the
linear tensors between the blocks change, of one with ReLU all do.

ReLU6 would let factors pass for channels that stay below 6 before and after, but no photos tell
which ones do: with the maxima of 64 photos, Lite0's float logits on others were 18 dB from their
own, and its int8 file lost 5 dB; with half as much room again it was no better than without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import Activation, Conv, Dense, Graph, Mul
from edge_effnet.model import Model

Doubles = NDArray[np.float64]

_ROUNDS = 50
_BARRIERS = ("swish", "sigmoid", "relu6")


def equalize(model: Model) -> Model:
    """``model`` (BN folded) with channels scaled so that layers use the whole range of weights.

    The function is the same but for float32's rounding.
    """
    graph = model.graph
    peaks = {
        node.name: _Peaks.of(node, model.weights[f"{node.name}.weight"])
        for node in graph
        if isinstance(node, (Conv, Dense))
    }
    families = [family for family in _families(graph) if not family.fixed]
    factors = [np.ones(graph.shapes[family.tensors[0]][0]) for family in families]
    for _ in range(_ROUNDS):
        for index, family in enumerate(families):
            made = [peaks[name].rows() for name in family.makers]
            read = [peaks[name].columns() for name in family.readers]
            factor = _balance(made, read)
            for name in family.makers:
                peaks[name] = peaks[name].scaled(rows=factor)
            for name in family.readers:
                peaks[name] = peaks[name].scaled(columns=1 / factor)
            factors[index] = factors[index] * factor
    by_tensor = {
        name: factor
        for family, factor in zip(families, factors, strict=True)
        for name in family.tensors
    }
    return _scaled(model, by_tensor)


@dataclass
class _Family:
    """Tensors that share their factors, and the layers that make and read them.

    ``fixed`` says that all factors stay 1.
    """

    tensors: list[str] = field(default_factory=list)
    makers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    fixed: bool = False


def _families(graph: Graph) -> list[_Family]:
    """Every tensor of the graph in one of them."""
    of: dict[str, _Family] = {graph.input: _Family([graph.input], fixed=True)}
    for node in graph:
        if isinstance(node, (Conv, Dense)):
            grouped = isinstance(node, Conv) and node.groups > 1 and not node.depthwise
            of[node.inputs[0]].readers.append(node.name)
            of[node.inputs[0]].fixed |= grouped
            of[node.name] = _Family([node.name], [node.name], fixed=grouped)
        elif isinstance(node, Activation) and node.kind in _BARRIERS:
            of[node.inputs[0]].fixed = True
            of[node.name] = _Family([node.name], fixed=True)
        else:
            if isinstance(node, Mul):  # the map's factors pass, the gate's would come on top
                of[node.inputs[1]].fixed = True
            passing = node.inputs[:1] if isinstance(node, Mul) else node.inputs
            together = _united([of[name] for name in passing])
            together.tensors.append(node.name)
            of.update(dict.fromkeys(together.tensors, together))
    of[graph.output].fixed = True
    return list({id(family): family for family in of.values()}.values())


def _united(families: list[_Family]) -> _Family:
    """One family of all the members."""
    first = families[0]
    for other in families[1:]:
        if other is not first:
            first.tensors += other.tensors
            first.makers += other.makers
            first.readers += other.readers
            first.fixed |= other.fixed
    return first


@dataclass(frozen=True)
class _Peaks:
    """Largest |weight| of each pair of channels, [out, in]; of each channel if depthwise."""

    values: Doubles

    @classmethod
    def of(cls, node: Conv | Dense, weight: NDArray[np.float32]) -> _Peaks:
        sizes = np.abs(weight.astype(np.float64))
        if weight.ndim == 4:
            sizes = sizes.max(axis=(2, 3))
        return cls(sizes[:, 0] if isinstance(node, Conv) and node.depthwise else sizes)

    def rows(self) -> Doubles:
        """Of each output channel, as a share of the layer's largest."""
        return self._shares(1)

    def columns(self) -> Doubles:
        """Of each input channel, as a share of the layer's largest."""
        return self._shares(0)

    def _shares(self, axis: int) -> Doubles:
        peaks = self.values if self.values.ndim == 1 else self.values.max(axis=axis)
        return np.asarray(peaks / max(float(peaks.max()), 1e-30))

    def scaled(self, rows: Doubles | None = None, columns: Doubles | None = None) -> _Peaks:
        """With ``rows`` or ``columns`` multiplied by these factors."""
        values = self.values
        if rows is not None:
            values = values * (rows if values.ndim == 1 else rows[:, None])
        if columns is not None:
            values = values * columns
        return _Peaks(values)


def _balance(made: list[Doubles], read: list[Doubles]) -> Doubles:
    """Factors after which a channel's weights have equal shares on both sides; 1 if it is dead."""
    makes, reads = np.max(made, axis=0), np.max(read, axis=0)
    alive = (makes > 0) & (reads > 0)
    return np.asarray(np.sqrt(np.where(alive, reads, 1.0) / np.where(alive, makes, 1.0)))


def _scaled(model: Model, factors: Mapping[str, Doubles]) -> Model:
    """The model with every tensor of ``factors`` multiplied by its own."""
    weights = dict(model.weights)
    for node in model.graph:
        if not isinstance(node, (Conv, Dense)):
            continue
        weight = weights[f"{node.name}.weight"].astype(np.float64)
        taps = (1,) * (weight.ndim - 2)
        if node.name in factors:
            rows = factors[node.name]
            weight *= rows.reshape(-1, 1, *taps)
            if node.bias:
                bias = weights[f"{node.name}.bias"] * rows
                weights[f"{node.name}.bias"] = bias.astype(np.float32)
        if node.inputs[0] in factors:
            columns = factors[node.inputs[0]]
            depthwise = isinstance(node, Conv) and node.depthwise
            weight /= columns.reshape((-1, 1, *taps) if depthwise else (1, -1, *taps))
        weights[f"{node.name}.weight"] = weight.astype(np.float32)
    return replace(model, weights=weights)
