"""QuantPlan: everything that quantization decided, as plain data that every format is written from.

Conventions, the same in all three formats:
  weights      int8 in -127..127, symmetric, one scale per output channel (the same for all of them
               in a plan per tensor, whose files hold it once)
  biases       int32 with scale = (grid scale of the layer's input) * (weight scale of the channel)
  activations  uint8 with one scale and zero point per tensor (int8 formats subtract 128)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CalibrationRecord

LEVELS = 255  # steps of a uint8 grid

#: Where tensors are stored on grids: see `calibration.quantizer_placement`.
Placement = Literal["tflite", "onnx", "openvino"]


@dataclass(frozen=True)
class QuantParams:
    """real = scale * (q - zero_point) for q in 0..255; ``scale`` is a float32 value > 0."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> QuantParams:
        """The grid that covers [low, high] widened to hold 0, which it represents exactly."""
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        span = max(high - low, 1e-8)
        scale = float(np.float32(span / LEVELS))
        return cls(scale, int(np.clip(round(-low / scale), 0, LEVELS)))

    @property
    def low(self) -> float:
        """Smallest representable value."""
        return -self.scale * self.zero_point

    @property
    def high(self) -> float:
        """Largest representable value."""
        return self.scale * (LEVELS - self.zero_point)

    def quantize(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Nearest grid index (ties to even), saturating: float32 -> uint8 of the same shape."""
        scaled = np.rint(values / np.float32(self.scale))
        scaled += self.zero_point
        return np.asarray(np.clip(scaled, 0, LEVELS, out=scaled), np.uint8)

    def dequantize(self, indices: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 -> float32 of the same shape."""
        values = indices.astype(np.float32)
        values -= self.zero_point
        values *= np.float32(self.scale)
        return values


#: Where a sigmoid's output lies: the only grid that TFLite's int8 kernel gives.
SIGMOID_PARAMS = QuantParams(1 / 256, 0)
#: Of the product of two sigmoids on theirs: index a * b / 257, which is never at a rounding tie.
FUSED_SIGMOID_PARAMS = QuantParams(257 / 65536, 0)


@dataclass(frozen=True, repr=False)
class LayerPlan:
    """One quantized layer: weight int8 in its own shape, scale float32 [out], bias int32 [out].

    In a plan without grids, for networks that compute in float, the bias is float32.
    """

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32] | NDArray[np.float32]

    def __repr__(self) -> str:
        scales = "one scale" if self.per_tensor else f"{len(self.scale)} scales"
        return f"LayerPlan(int8 {list(self.weight.shape)}, {scales}, {self.bias.dtype} bias)"

    @property
    def per_tensor(self) -> bool:
        """Whether one scale serves the whole layer."""
        return bool((self.scale == self.scale[0]).all())

    @property
    def file_scale(self) -> NDArray[np.float32]:
        """The scales as files hold them: [out], or one number (rank 0) for the whole layer."""
        return np.asarray(self.scale[0]) if self.per_tensor else self.scale

    def float_weight(self) -> NDArray[np.float32]:
        """The weights that the integers stand for."""
        shape = (-1,) + (1,) * (self.weight.ndim - 1)
        return self.weight.astype(np.float32) * self.scale.reshape(shape)

    def float_bias(self, input_scale: float) -> NDArray[np.float32]:
        """The bias that the integers stand for, given the scale of the layer's input."""
        return self.bias.astype(np.float32) * (np.float32(input_scale) * self.scale)


@dataclass(frozen=True, repr=False)
class QuantPlan:
    """``layers`` by node name and ``quant_params`` by tensor name, over a graph with BN folded.

    A tensor without a grid is never stored quantized: a convolution's output when a clipping
    activation follows (the activation's grid clips it). ``float_layers`` are the nodes that compute
    in float (mixed precision): a layer always together with its activation. ``weights`` are the
    float parameters of those that have any, by parameter name, fitted to what the layers before
    them give. ``biases`` are those of the layers in files of another placement than TFLite's, if
    other errors shift the means there; `for_format` puts them in place. ``fused_gates`` are the
    products of a swish and a squeeze-excite gate whose two sigmoids are multiplied first
    (`placement.fusable_gates`).
    """

    layers: Mapping[str, LayerPlan]
    quant_params: Mapping[str, QuantParams]
    recipe: str
    record: CalibrationRecord | None = None
    avx2_safe: bool = True
    float_layers: frozenset[str] = frozenset()
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    biases: Mapping[Placement, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    fused_gates: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        mixed = f", {len(self.float_layers)} nodes in float" if self.float_layers else ""
        return f"QuantPlan(recipe {self.recipe}, {len(self.layers)} int8 layers{mixed})"

    def for_format(self, placement: Placement) -> QuantPlan:
        """The plan with the biases, and the joint gates, that a file of ``placement`` has."""
        if placement == "openvino" and self.fused_gates:
            return replace(self, fused_gates=frozenset()).for_format(placement)
        own = self.biases.get(placement)
        if own is None:
            return self
        layers = {
            name: replace(layer, bias=own.get(name, layer.bias))
            for name, layer in self.layers.items()
        }
        float_layers = {f"{name}.bias": bias for name, bias in own.items() if name not in layers}
        return replace(self, layers=layers, weights={**self.weights, **float_layers}, biases={})

    @property
    def per_tensor(self) -> bool:
        """Whether every layer has one scale for its whole weight."""
        return bool(self.layers) and all(layer.per_tensor for layer in self.layers.values())


@dataclass(frozen=True, repr=False)
class WeightOnlyPlan:
    """Weight-only quantization: int8 weights and float32 biases of layers that compute in float."""

    layers: Mapping[str, LayerPlan]
    recipe: str
    record: CalibrationRecord | None = None

    def __repr__(self) -> str:
        return f"WeightOnlyPlan(recipe {self.recipe}, {len(self.layers)} layers)"

    @property
    def per_tensor(self) -> bool:
        """Whether every layer has one scale for its whole weight."""
        return bool(self.layers) and all(layer.per_tensor for layer in self.layers.values())


Plan = QuantPlan | WeightOnlyPlan


def plan_arrays(plan: Plan) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
    """The plan as JSON data and named arrays; `plan_from_arrays` puts them together again."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, layer in plan.layers.items():
        arrays[f"layer/{name}.weight"] = np.ascontiguousarray(layer.weight)
        arrays[f"layer/{name}.scale"] = layer.scale
        arrays[f"layer/{name}.bias"] = layer.bias
    content: dict[str, Any] = {
        "recipe": plan.recipe,
        "record": None if plan.record is None else asdict(plan.record),
        "layers": list(plan.layers),
    }
    if isinstance(plan, WeightOnlyPlan):
        return content, arrays
    arrays |= {f"float/{name}": value for name, value in plan.weights.items()}
    for placement, biases in plan.biases.items():
        arrays |= {f"{placement}/{name}": value for name, value in biases.items()}
    content |= {
        "quant_params": {name: asdict(params) for name, params in plan.quant_params.items()},
        "avx2_safe": plan.avx2_safe,
        "float_layers": sorted(plan.float_layers),
        "placements": sorted(plan.biases),
        "fused_gates": sorted(plan.fused_gates),
    }
    return content, arrays


def plan_from_arrays(content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Plan:
    """The plan that `plan_arrays` took apart.

    Raises:
        ValueError, LookupError, TypeError: The data are no plan.
    """
    record = content["record"]
    if record is not None:
        manifest = tuple((file, digest) for file, digest in record["manifest"])
        record = CalibrationRecord(**{**record, "manifest": manifest})
    parts = ("weight", "scale", "bias")
    layers = {
        name: LayerPlan(*(arrays[f"layer/{name}.{part}"] for part in parts))
        for name in content["layers"]
    }
    if "quant_params" not in content:
        return WeightOnlyPlan(layers, content["recipe"], record)
    return QuantPlan(
        layers,
        {name: QuantParams(**params) for name, params in content["quant_params"].items()},
        content["recipe"],
        record,
        content["avx2_safe"],
        frozenset(content["float_layers"]),
        _under("float", arrays),
        {placement: _under(placement, arrays) for placement in content["placements"]},
        frozenset(content["fused_gates"]),
    )


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those whose names begin with ``prefix/``, by the rest of the name."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}
