"""Pickled PyTorch modules, read as named tensors without importing their classes.

A module stores its parameters, buffers and submodules in dicts among its attributes. A network
pickled as a whole is therefore read as its state dict, together with the classes of its layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_effnet.checkpoints.readers.values import Opaque, Tensor
from edge_effnet.checkpoints.source import ModuleRecord
from edge_effnet.errors import CheckpointError

_PARAMETERS, _BUFFERS, _MODULES = "_parameters", "_buffers", "_modules"
_MOST_MODULES, _MOST_DEPTH, _LONGEST_NAME = 20_000, 64, 2_000
_DEEPEST = 6  # depth of the search for hidden tensors


@dataclass(frozen=True)
class PickledModule:
    """The state dict of a pickled module, and records of its submodules by name."""

    tensors: dict[str, object] = field(default_factory=dict)
    records: dict[str, ModuleRecord] = field(default_factory=dict)


def attributes(item: Opaque) -> dict[str, object]:
    """The attributes of a pickled object."""
    values: dict[str, object] = {}
    for part in item.parts:
        if isinstance(part, tuple) and len(part) == 2:  # (None, slots)
            part = part[1] if isinstance(part[1], dict) else part[0]
        if isinstance(part, dict):
            values.update(part)
    return values


def is_module(item: object) -> bool:
    """Whether ``item`` is a pickled module of PyTorch."""
    if not isinstance(item, Opaque):
        return False
    values = attributes(item)
    return isinstance(values.get(_PARAMETERS), dict) and isinstance(values.get(_MODULES), dict)


def read_module(item: Opaque) -> PickledModule:
    """The state dict of the pickled module, and its submodules.

    Raises:
        CheckpointError: Modules are nested too deeply.
    """
    result = PickledModule()
    pending: list[tuple[str, Opaque]] = [("", item)]
    while pending:
        prefix, module = pending.pop()
        deep = prefix.count(".") > _MOST_DEPTH or len(prefix) > _LONGEST_NAME
        if deep or len(result.records) > _MOST_MODULES:
            raise CheckpointError(
                f"a module in it is nested deeper than {_MOST_DEPTH} levels, or has more than "
                f"{_MOST_MODULES:,} parts; save model.state_dict() instead"
            )
        values = attributes(module)
        scalars = {n: v for n, v in values.items() if isinstance(v, (bool, int, float, str))}
        result.records[prefix.rstrip(".")] = ModuleRecord(module.name, scalars)
        for kind in (_PARAMETERS, _BUFFERS):
            entries = values.get(kind)
            for name, value in entries.items() if isinstance(entries, dict) else ():
                if isinstance(value, (Tensor, Opaque)):
                    result.tensors[f"{prefix}{name}"] = value
        children = values.get(_MODULES)
        inner = list(children.items()) if isinstance(children, dict) else []
        pending += [
            (f"{prefix}{name}.", child)
            for name, child in reversed(inner)
            if isinstance(child, Opaque)
        ]
    return result


def hides_tensor(item: object) -> bool:
    """Whether a pickled object contains a tensor within a few levels."""
    level: list[object] = [item]
    visited: set[int] = set()
    for _ in range(_DEEPEST):
        following: list[object] = []
        for part in level:
            if isinstance(part, Tensor):
                return True
            if id(part) in visited or len(visited) > _MOST_MODULES:
                continue
            visited.add(id(part))
            if isinstance(part, Opaque):
                following += part.parts
            elif isinstance(part, dict):
                following += part.values()
            elif isinstance(part, (list, tuple)):
                following += part
        level = following
    return False
