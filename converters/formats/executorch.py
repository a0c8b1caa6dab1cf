"""ExecuTorch writer: a .pte file for XNNPACK, exported by PyTorch.

``forward`` maps normalised float32 [1, 3, height, width] to logits [1, classes]. The method
``edge_effnet`` returns the model card's JSON.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.errors import require
from edge_effnet.model import Model

torch: Any = require("torch", "executorch")
exir: Any = require("executorch.exir", "executorch")
_partition: Any = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch")


def write(model: Model, card: ModelCard, folder: Path) -> None:
    """Write ``model.pte`` of a model with BN folded."""
    from edge_effnet.converters.frameworks.torch import build

    sample = (torch.zeros(1, *model.graph.input_shape),)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of its own deprecated parts
        exported = torch.export.export(build(model), sample)
        lowered = exir.to_edge_transform_and_lower(
            exported,
            partitioner=[_partition.XnnpackPartitioner()],
            constant_methods={CARD_KEY: card.to_json()},
        )
        (folder / "model.pte").write_bytes(lowered.to_executorch().buffer)
