"""QuantPlan: a network's int8 weights, int32 biases, quantization parameters and float layers.

All formats are written from one plan. Conventions:
  weights      int8 in -127..127, symmetric, one scale per output channel. In a per-tensor plan all
               scales of a layer are equal, and files store the scale once
  biases       int32, scale = scale of the layer's input * weight scale of the channel
  activations  uint8 with one scale and zero point per tensor (int8 formats subtract 128)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CalibrationRecord
from edge_effnet.graph import Graph

LEVELS = 255  # quantization steps of uint8

#: Formats with a quantizer placement of their own, see `calibration.quantizer_placement`.
QuantizerPlacement = Literal["tflite", "onnx", "onnx-contrib", "openvino"]


@dataclass(frozen=True)
class QuantParams:
    """Quantization parameters of a uint8 tensor: real = scale * (q - zero_point), q in 0..255.

    ``scale`` is positive and exactly representable in float32.
    """

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> QuantParams:
        """Parameters whose range covers [low, high] and 0; 0 is exactly representable."""
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
        """float32 -> uint8 of the same shape: rounded to nearest (ties to even), saturating."""
        scaled = np.rint(values / np.float32(self.scale))
        scaled += self.zero_point
        return np.asarray(np.clip(scaled, 0, LEVELS, out=scaled), np.uint8)

    def dequantize(self, quantized: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 -> float32 of the same shape."""
        values = quantized.astype(np.float32)
        values -= self.zero_point
        values *= np.float32(self.scale)
        return values


#: Quantization parameters of a sigmoid's output: TFLite's int8 kernel supports no others.
SIGMOID_PARAMS = QuantParams(1 / 256, 0)
#: Quantization parameters of the product of two sigmoids with uint8 values a and b. The
#: requantized value a * b / 257 never falls on .5, because 257 is odd.
FUSED_SIGMOID_PARAMS = QuantParams(257 / 65536, 0)
#: Quantization parameters of a hard sigmoid's output, clip(x / 6 + 0.5, 0, 1). They represent 1
#: within 0.002 %, and 0.5, the value at 0, is not a tie.
HARD_SIGMOID_PARAMS = FUSED_SIGMOID_PARAMS


@dataclass(frozen=True, repr=False)
class LayerPlan:
    """One quantized layer.

    Attributes:
        weight: int8, OIHW or [out, in].
        scale: Weight scale of each output channel, float32 [out].
        bias: int32 [out]; float32 in a weight-only plan.
    """

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32] | NDArray[np.float32]

    def __repr__(self) -> str:
        scales = "one scale" if self.per_tensor else f"{len(self.scale)} scales"
        return f"LayerPlan(int8 {list(self.weight.shape)}, {scales}, {self.bias.dtype} bias)"

    @property
    def per_tensor(self) -> bool:
        """Whether all output channels have the same scale."""
        return bool((self.scale == self.scale[0]).all())

    @property
    def file_scale(self) -> NDArray[np.float32]:
        """The scales as files store them: [out], or rank 0 if all are equal."""
        return np.asarray(self.scale[0]) if self.per_tensor else self.scale

    def float_weight(self) -> NDArray[np.float32]:
        """Dequantized weights: integers times the channel's scale, float32 OIHW or [out, in]."""
        shape = (-1,) + (1,) * (self.weight.ndim - 1)
        return self.weight.astype(np.float32) * self.scale.reshape(shape)

    def float_bias(self, input_scale: float) -> NDArray[np.float32]:
        """Dequantized bias [out]: the integers times ``input_scale`` times the weight scales.

        Args:
            input_scale: Scale of the layer's input.
        """
        return self.bias.astype(np.float32) * (np.float32(input_scale) * self.scale)


@dataclass(frozen=True, repr=False)
class QuantPlan:
    """Quantization of a network with BN folded.

    Attributes:
        layers: Quantized layers by node name.
        quant_params: Quantization parameters by tensor name. A layer's output before a clipping
            activation has none: the activation's parameters clip this output.
        recipe: Name of the recipe.
        record: The calibration photos.
        avx2_safe: Whether the weights follow the pair rule (`calibration.weights.gptq`).
        float_layers: Nodes that compute in float (mixed precision): layers and their activations.
        weights: Weights and biases of the float layers by parameter name, after the least-squares
            weight correction that compensates the error of their quantized inputs.
        biases: Biases by format, then layer name. Formats have an entry if their quantizer
            placement differs from TFLite's, because the channel means then differ too.
            `for_format` applies these biases.
        fused_gates: Names of the squeeze-excite products with fused sigmoid gating
            (`quantizer_placement.fusable_gates`).
    """

    layers: Mapping[str, LayerPlan]
    quant_params: Mapping[str, QuantParams]
    recipe: str
    record: CalibrationRecord | None = None
    avx2_safe: bool = True
    float_layers: frozenset[str] = frozenset()
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    biases: Mapping[QuantizerPlacement, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    fused_gates: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        mixed = f", {len(self.float_layers)} nodes in float" if self.float_layers else ""
        return f"QuantPlan(recipe {self.recipe}, {len(self.layers)} int8 layers{mixed})"

    def for_format(self, placement: QuantizerPlacement) -> QuantPlan:
        """The plan with the biases and the fused sigmoid gating of one format's files."""
        if placement == "openvino" and self.fused_gates:
            return replace(self, fused_gates=frozenset()).for_format(placement)
        biases = self.biases.get(placement)
        if biases is None:
            return self
        layers = {
            name: replace(layer, bias=biases.get(name, layer.bias))
            for name, layer in self.layers.items()
        }
        float_biases = {f"{name}.bias": bias for name, bias in biases.items() if name not in layers}
        return replace(self, layers=layers, weights={**self.weights, **float_biases}, biases={})

    @property
    def per_tensor(self) -> bool:
        """Whether each layer has one scale for all output channels."""
        return bool(self.layers) and all(layer.per_tensor for layer in self.layers.values())


@dataclass(frozen=True, repr=False)
class WeightOnlyPlan:
    """Weight-only quantization: int8 weights and float32 biases, float compute.

    Attributes:
        layers: Quantized layers by node name.
        recipe: Name of the recipe.
        record: The calibration photos.
    """

    layers: Mapping[str, LayerPlan]
    recipe: str
    record: CalibrationRecord | None = None

    def __repr__(self) -> str:
        return f"WeightOnlyPlan(recipe {self.recipe}, {len(self.layers)} layers)"

    @property
    def per_tensor(self) -> bool:
        """Whether each layer has one scale for all output channels."""
        return bool(self.layers) and all(layer.per_tensor for layer in self.layers.values())


Plan = QuantPlan | WeightOnlyPlan


def plan_arrays(plan: Plan) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
    """The plan as JSON data and arrays by name; `plan_from_arrays` is the inverse."""
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
    """Inverse of `plan_arrays`.

    Raises:
        ValueError, LookupError, TypeError: The data do not describe a plan.
    """
    record = content["record"]
    if record is not None:
        manifest = tuple((file, digest) for file, digest in record["manifest"])
        appearance = tuple(map(tuple, record.get("appearance", ())))
        record = CalibrationRecord(**{**record, "manifest": manifest, "appearance": appearance})
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


def check_plan(plan: Plan, graph: Graph) -> None:
    """Raise `ValueError` if a plan from a file contradicts the graph from the same file.

    Every layer must have integers of its shape and finite positive scales, and every quantized
    tensor must be one of the graph.
    """
    bias_type = np.float32 if isinstance(plan, WeightOnlyPlan) else np.int32
    shapes = graph.parameter_shapes
    for name, layer in plan.layers.items():
        shape = shapes.get(f"{name}.weight", ())
        if layer.weight.dtype != np.int8 or layer.weight.shape != shape:
            raise ValueError(f"the int8 weights of {name} are not those of a layer of its graph")
        for part, values, dtype in (
            ("scales", layer.scale, np.float32),
            ("biases", layer.bias, bias_type),
        ):
            if values.dtype != dtype or values.shape != shape[:1] or not np.isfinite(values).all():
                raise ValueError(f"the {part} of {name} are not one finite number per channel")
        if not (layer.scale > 0).all():
            raise ValueError(f"a scale of {name} is not positive")
    if isinstance(plan, WeightOnlyPlan):
        return
    for name, params in plan.quant_params.items():
        if name not in graph.shapes:
            raise ValueError(f"{name} has a scale but is no tensor of its graph")
        if not (0 < params.scale < math.inf and 0 <= params.zero_point <= LEVELS):
            raise ValueError(f"the scale or zero point of {name} is out of range")
    floats = dict(plan.weights)
    for biases in plan.biases.values():
        floats |= {f"{name}.bias": values for name, values in biases.items()}
    for name, values in floats.items():
        if values.shape != shapes.get(name) or not np.isfinite(values).all():
            raise ValueError(f"{name} is not a finite parameter of its graph")


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with ``prefix/``, by the rest of the name."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}
