"""Reader of live torch.nn.Modules; torch is not imported here.

The module is not changed: it runs in evaluation mode, and its flags are restored afterwards. A
module that is not float32 on the CPU is copied and converted for the comparison.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.live import state_dict
from edge_effnet.checkpoints.live.network import LiveNetwork
from edge_effnet.errors import CheckpointError
from edge_effnet.network import Padding

#: Wrapper class -> attribute with the wrapped module.
_WRAPPERS = {
    "AveragedModel": "module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
_LONGEST_ERROR = 200


def read(module: Any) -> LiveNetwork:
    """Weights of ``module`` and properties of its layers; raises `CheckpointError`."""
    while (inner := _WRAPPERS.get(type(module).__name__)) and hasattr(module, inner):
        module = getattr(module, inner)
    name = f"the module {type(module).__name__}"
    checkpoint = state_dict.read(module.state_dict(), name)
    modules = list(module.modules())
    padding = _padding(modules)
    return LiveNetwork(
        replace(checkpoint, words={}, config=_timm_config(modules), padding=padding),
        run=lambda batch: _run(module, name, batch),
        padding=padding,
        bn_eps=_bn_eps(modules),
        resolution=_image_size(modules),
        labels=_labels(modules),
        onnx="export it with torch.onnx.export(module, torch.randn(1, 3, side, side), "
        "'network.onnx') and convert that file",
    )


def _run(module: Any, name: str, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of ``module``, computed in evaluation mode and float32 on the CPU."""
    torch: Any = sys.modules["torch"]
    try:
        with _evaluating(module), torch.no_grad():
            outputs = _on_cpu(module)(torch.from_numpy(batch.copy()))
        return np.asarray(_logits(outputs).detach().cpu().float().numpy())
    except CheckpointError:
        raise
    except Exception as error:  # the user's own modules raise anything
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        raise CheckpointError(
            f"{name} cannot be run on one batch of images to compare the outputs ({reason})",
            hint="give weights=module.state_dict() to load without this comparison",
        ) from error


def _on_cpu(module: Any) -> Any:
    """``module`` if it is float32 on the CPU, else a converted copy."""
    values = [*module.parameters(), *module.buffers()]
    floats = [value for value in values if value.is_floating_point()]
    plain = all(str(v.dtype) == "torch.float32" for v in floats)
    plain = plain and all(v.device.type == "cpu" for v in values)
    return module if plain else copy.deepcopy(module).cpu().float()


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """Context with ``module`` in evaluation mode, even if ``train`` and ``eval`` are overridden."""
    flags = [(each, each.training) for each in module.modules()]
    try:
        for each, _ in flags:
            each.training = False
        yield
    finally:
        for each, flag in flags:
            each.training = flag


def _logits(outputs: Any) -> Any:
    """The output tensor of a module: returned directly, in a tuple of one, or as ``logits``."""
    if isinstance(outputs, Mapping):
        outputs = outputs.get("logits", outputs)
    outputs = getattr(outputs, "logits", outputs)
    if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
        outputs = outputs[0]
    if not hasattr(outputs, "detach"):
        several = f" of {len(outputs)}" if hasattr(outputs, "__len__") else ""
        raise CheckpointError(
            f"the module returns a {type(outputs).__name__}{several} instead of one tensor of "
            "logits; give the classifier alone, or a module that returns its logits"
        )
    return outputs


def _timm_config(modules: list[Any]) -> Mapping[str, Any]:
    """The configuration that timm stores in the module, as in its config.json; else empty."""
    for module in modules:
        record = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
        if is_dataclass(record) and not isinstance(record, type):
            record = asdict(record)
        if isinstance(record, Mapping) and record:
            plain = json.loads(json.dumps(dict(record), default=str))
            return {"architecture": str(plain.get("architecture") or ""), "pretrained_cfg": plain}
    return {}


def _padding(modules: list[Any]) -> Padding | None:
    """Padding of the first convolution: "symmetric" if its own padding is (kernel - 1) // 2."""
    for module in modules:
        if getattr(module, "in_channels", None) in (1, 3) and hasattr(module, "kernel_size"):
            kernel = module.kernel_size[0]
            return "symmetric" if module.padding == ((kernel - 1) // 2,) * 2 else "same"
    return None


def _bn_eps(modules: list[Any]) -> float | None:
    """The common epsilon of the batch normalisations of feature maps; None if they differ."""
    epsilons = {
        float(module.eps)
        for module in modules
        if hasattr(module, "running_var") and not type(module).__name__.endswith("1d")
    }
    return epsilons.pop() if len(epsilons) == 1 else None


def _image_size(modules: list[Any]) -> int | None:
    """The input side for which efficientnet_pytorch computed its padding."""
    for module in modules:
        size = getattr(getattr(module, "_global_params", None), "image_size", None)
        if isinstance(size, int):
            return size
    return None


def _labels(modules: list[Any]) -> tuple[str, ...] | None:
    """Class names in a transformers config; None for placeholder names."""
    names = getattr(getattr(modules[0], "config", None), "id2label", None)
    if not isinstance(names, Mapping) or set(names) != set(range(len(names))):
        return None
    labels = tuple(str(names[index]) for index in range(len(names)))
    placeholders = tuple(f"LABEL_{index}" for index in range(len(names)))
    return labels if labels != placeholders else None
