"""Latency model of a device: fitted coefficients that predict the latency of any network.

The predicted latency is the sum over all layers of features (`features`) times coefficients. The
coefficients are fitted to micro-benchmarks on the device (`measurement`, `fitting`). A prediction
needs no export and runs no model. The latency model is a JSON file that anyone with the same device
can use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_effnet import json_text, reading
from edge_effnet.benchmarks.prediction.features import layer_features
from edge_effnet.benchmarks.records import Host, key
from edge_effnet.calibration.passes.fold import fold_structure
from edge_effnet.decoding import decode
from edge_effnet.errors import UsageError, reason
from edge_effnet.files import write_text
from edge_effnet.graph import Graph
from edge_effnet.network import build
from edge_effnet.runtime.devices.device import CPU
from edge_effnet.variants import Variant
from edge_effnet.version import VERSION

SCHEMA = 3  # 2: other key for the runtimes; 1: coefficients of distant bytes per kernel
KIND = "edge-effnet latency model"
#: Largest median error in cross-validation at which an accelerator's model is used.
LARGEST_ERROR = 0.15
_KIND_2 = "edge-effnet profile"


@dataclass(frozen=True)
class RuntimeModel:
    """Coefficients of one runtime and precision.

    Attributes:
        format: Format of the files.
        precision: Precision of the files.
        runtime: Name of the runtime.
        runtime_version: Version of the runtime.
        kernels: Kernel library of the runtime, as reported by the Runner.
        coefficients: Milliseconds per unit of each feature, by name; a missing one is 0.
        scale: Ratio of a network's measured latency to the sum over its layers, fitted to whole
            networks.
        micro_benchmarks: Number of micro-benchmarks that the coefficients were fitted to.
        error: Median and 95th percentile of the relative error in cross-validation.
        device: Name of the device, as for `edge_effnet.open`.
    """

    format: str
    precision: str
    runtime: str
    runtime_version: str
    kernels: str
    coefficients: Mapping[str, float]
    scale: float
    micro_benchmarks: int
    error: tuple[float, float]
    device: str = CPU

    @property
    def name(self) -> str:
        """``tflite int8``; on another device than the CPU ``tflite int8 on gpu``."""
        return key(f"{self.format} {self.precision}", self.device)

    @property
    def reliable(self) -> bool:
        """Whether predictions may be used: the fit of an accelerator can fail its own check."""
        return self.device == CPU or self.error[0] <= LARGEST_ERROR

    def predict(self, graph: Graph) -> float:
        """Milliseconds of one inference of ``graph`` (BN folded) at batch 1.

        A kind of layer without micro-benchmarks is estimated as a pointwise convolution with the
        same number of multiply-adds.
        """
        features = layer_features(graph, self.precision)
        known = {name.partition(".")[0] for name in self.coefficients}
        unknown = sum(
            value
            for name, value in features.items()
            if name.endswith(".multiply_adds") and name.partition(".")[0] not in known
        )
        pointwise = self.coefficients.get("pointwise.multiply_adds", 0.0)
        return (weighted_sum(self.coefficients, features) + pointwise * unknown) * self.scale


@dataclass(frozen=True)
class LatencyModel:
    """The latency model of a device on ``threads`` threads; ``created`` is UTC, ISO 8601."""

    host: Host
    threads: int
    runtimes: tuple[RuntimeModel, ...]
    created: str = ""
    toolkit: str = f"edge-effnet {VERSION}"

    @property
    def reliable(self) -> tuple[RuntimeModel, ...]:
        """The runtimes whose predictions may be used.

        Raises:
            UsageError: There is none.
        """
        runtimes = tuple(runtime for runtime in self.runtimes if runtime.reliable)
        if not runtimes:
            raise UsageError(_unreliable(self.runtimes[0]))
        return runtimes

    def of(self, format_name: str, precision: str) -> RuntimeModel:
        """Coefficients of a format and precision.

        Raises:
            UsageError: They were not measured, or their cross-validation error is above
                `LARGEST_ERROR`.
        """
        for runtime in self.runtimes:
            if (runtime.format, runtime.precision) == (format_name, precision):
                if not runtime.reliable:
                    raise UsageError(_unreliable(runtime))
                return runtime
        known = ", ".join(runtime.name for runtime in self.runtimes)
        raise UsageError(
            f"the latency model holds no {format_name} {precision} (only {known}); measure it with "
            "'edge-effnet profile'"
        )

    def latency(
        self, variant: Variant, side: int | None, format_name: str, precision: str
    ) -> float:
        """Predicted milliseconds of one inference of ``variant`` at batch 1."""
        return self.of(format_name, precision).predict(folded_graph(variant, side))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model as JSON to ``path``, replacing it atomically; raises `OutputError`."""
        content = {"schema": SCHEMA, "kind": KIND, **asdict(self)}
        return write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _unreliable(runtime: RuntimeModel) -> str:
    return (
        f"the latency model of {runtime.name} is unreliable: its cross-validation error is "
        f"{runtime.error[0]:.0%}, above {LARGEST_ERROR:.0%}; measure files with 'edge-effnet "
        f"benchmark --device {runtime.device}'"
    )


def load_latency_model(path: str | os.PathLike[str]) -> LatencyModel:
    """The latency model in the file ``path``; reads schemas 2 and 3.

    Raises:
        UsageError: The file is missing, damaged or of another kind.
    """
    try:
        content = json_text.parse(reading.read_bytes(path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the latency model {path}: {reason(error)}; make one with "
            "'edge-effnet profile'"
        ) from error
    if not isinstance(content, dict) or content.get("kind") not in (KIND, _KIND_2):
        raise UsageError(
            f"{path} is no latency model of a device; make one with 'edge-effnet profile'"
        )
    if content.get("schema") == 2:
        content = _from_schema_2(content)
    elif content.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {content.get('schema')!r}, this release reads 2 and {SCHEMA}; "
            "measure again with 'edge-effnet profile'"
        )
    model: LatencyModel = decode(LatencyModel, content, str(path))
    if not model.runtimes:
        raise UsageError(f"{path} holds no coefficients; measure again with 'edge-effnet profile'")
    return model


def folded_graph(variant: Variant, side: int | None = None, classes: int = 1000) -> Graph:
    """The graph of ``variant`` with BN folded, at ``side`` pixels (None: the variant's default)."""
    return fold_structure(build(variant, resolution=side, classes=classes))


def weighted_sum(coefficients: Mapping[str, float], features: Mapping[str, float]) -> float:
    """Milliseconds: the sum of features times coefficients."""
    return sum(value * coefficients.get(name, 0.0) for name, value in features.items())


def _from_schema_2(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a schema 2 file with the keys of schema 3."""
    renamed = {"ms": "coefficients", "probes": "micro_benchmarks"}
    content = dict(content)
    if isinstance(items := content.pop("prices", None), list):
        content["runtimes"] = [
            {renamed.get(name, name): value for name, value in item.items()}
            if isinstance(item, dict)
            else item
            for item in items
        ]
    return content
