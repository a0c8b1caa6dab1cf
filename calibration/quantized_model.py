"""QuantizedModel: a prepared network with its plan. Calibration returns it; writers read it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_effnet import json_text, reading
from edge_effnet.calibration.plan import (
    Plan,
    QuantizerPlacement,
    QuantPlan,
    check_plan,
    plan_arrays,
    plan_from_arrays,
)
from edge_effnet.card import ModelCard, ModelInfo
from edge_effnet.errors import ModelFileError
from edge_effnet.files import write_bytes
from edge_effnet.graph_json import graph_from_json, graph_to_json
from edge_effnet.model import Model
from edge_effnet.variant_json import variant_from_json, variant_to_json

SCHEMA = 1
#: Key of the JSON in the header of a saved file.
_KEY = "edge_effnet_quantized"


@dataclass(frozen=True, repr=False)
class QuantizedModel:
    """A network that was quantized once and can be written in every format.

    Attributes:
        model: The prepared network (see `passes.prepare`) with its float weights.
        plan: Integer weights, biases and quantization parameters of its tensors.
        info: Description of the original network, for the cards of files. The original input
            normalisation may differ between channels, unlike that of ``model.info``.
    """

    model: Model
    plan: Plan
    info: ModelInfo

    def __repr__(self) -> str:
        kind = "int8" if isinstance(self.plan, QuantPlan) else "weight-only"
        return (
            f"QuantizedModel({self.model.variant.name}, {kind}, recipe {self.plan.recipe}, "
            f"{len(self.plan.layers)} layers)"
        )

    def for_format(self, placement: QuantizerPlacement) -> QuantizedModel:
        """The network and plan with the biases and float weights of one format's files."""
        if not isinstance(self.plan, QuantPlan):
            return self
        plan = self.plan.for_format(placement)
        weights = {**self.model.weights, **plan.weights}
        return QuantizedModel(replace(self.model, weights=weights), plan, self.info)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the network and its plan to one .safetensors file.

        Args:
            path: The file; an existing one is replaced.

        Returns:
            The path.

        Raises:
            OutputError: The file cannot be written.

        Example:
            >>> quantized.save("lite0.safetensors")  # doctest: +SKIP
        """
        from safetensors.numpy import save

        content, arrays = plan_arrays(self.plan)
        arrays |= {
            f"model/{name}": np.ascontiguousarray(value)
            for name, value in self.model.weights.items()
        }
        record = {
            "schema": SCHEMA,
            "variant": variant_to_json(self.model.variant),
            "info": json.loads(self.info.card().to_json()),
            "prepared_info": json.loads(self.model.info.card().to_json()),
            "graph": graph_to_json(self.model.graph),
            "plan": content,
        }
        return write_bytes(Path(path), save(arrays, {_KEY: json.dumps(record, sort_keys=True)}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> QuantizedModel:
        """Read a file written by `save`.

        Args:
            path: The .safetensors file.

        Raises:
            ModelFileError: The file is missing or damaged, or its schema is not supported.

        Example:
            >>> quantized = QuantizedModel.load("lite0.safetensors")  # doctest: +SKIP
        """
        from safetensors import SafetensorError, safe_open

        try:
            reading.check_regular(path)
            with safe_open(path, framework="numpy") as file:
                record = json_text.parse((file.metadata() or {})[_KEY])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if record["schema"] != SCHEMA:
                raise ValueError(f"schema {record['schema']}, expected {SCHEMA}")
            weights = {
                name.removeprefix("model/"): value
                for name, value in arrays.items()
                if name.startswith("model/")
            }
            graph = graph_from_json(record["graph"])
            shapes = {name: value.shape for name, value in weights.items()}
            if shapes != graph.parameter_shapes:
                raise ValueError("its weights are not those of its graph")
            info, prepared = (
                ModelCard.from_json(json.dumps(record[key])).info
                for key in ("info", "prepared_info")
            )
            model = Model(variant_from_json(record["variant"]), graph, weights, prepared)
            plan = plan_from_arrays(record["plan"], arrays)
            check_plan(plan, graph)
            return cls(model, plan, info)
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            ModelFileError,
            SafetensorError,
        ) as error:
            raise ModelFileError(
                f"the quantized model {path} cannot be read ({error}); calibrate again"
            ) from error
