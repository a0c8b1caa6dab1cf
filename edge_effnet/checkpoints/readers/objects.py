"""Pickled objects that are not read as their class: modules of PyTorch as their named tensors.

A module of PyTorch keeps its parameters, buffers and modules in dicts of its attributes. So a whole
pickled network is read as its state dict, without its class, and its layers tell their kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_effnet.checkpoints.readers.values import Opaque, Tensor
from edge_effnet.checkpoints.source import ModuleRecord
from edge_effnet.errors import CheckpointError

_PARAMETERS, _BUFFERS, _MODULES = "_parameters", "_buffers", "_modules"
_MOST_MODULES, _MOST_DEPTH, _LONGEST_NAME = 20_000, 64, 2_000
_DEEPEST = 6  # levels in which hidden tensors are searched


@dataclass(frozen=True)
class PickledModule:
    """The state dict of a pickled module, and what its submodules are, by name."""

    tensors: dict[str, object] = field(default_factory=dict)
    records: dict[str, ModuleRecord] = field(default_factory=dict)


def attributes(item: Opaque) -> dict[str, object]:
    """The attributes of a pickled object."""
    found: dict[str, object] = {}
    for part in item.parts:
        if isinstance(part, tuple) and len(part) == 2:  # (None, slots)
            part = part[1] if isinstance(part[1], dict) else part[0]
        if isinstance(part, dict):
            found.update(part)
    return found


def is_module(item: object) -> bool:
    """Whether ``item`` is a pickled module of PyTorch."""
    if not isinstance(item, Opaque):
        return False
    found = attributes(item)
    return isinstance(found.get(_PARAMETERS), dict) and isinstance(found.get(_MODULES), dict)


def read_module(item: Opaque) -> PickledModule:
    """The tensors that ``state_dict()`` of the pickled module would give, and its submodules.

    Raises `CheckpointError` for modules in modules without an end.
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
        found = attributes(module)
        scalars = {n: v for n, v in found.items() if isinstance(v, (bool, int, float, str))}
        result.records[prefix.rstrip(".")] = ModuleRecord(module.name, scalars)
        for kind in (_PARAMETERS, _BUFFERS):
            own = found.get(kind)
            for name, value in own.items() if isinstance(own, dict) else ():
                if isinstance(value, (Tensor, Opaque)):
                    result.tensors[f"{prefix}{name}"] = value
        children = found.get(_MODULES)
        inner = list(children.items()) if isinstance(children, dict) else []
        pending += [
            (f"{prefix}{name}.", child)
            for name, child in reversed(inner)
            if isinstance(child, Opaque)
        ]
    return result


def hides_tensor(item: object) -> bool:
    """Whether a tensor is among the parts of a pickled object, a few levels deep."""
    level: list[object] = [item]
    seen: set[int] = set()
    for _ in range(_DEEPEST):
        following: list[object] = []
        for part in level:
            if isinstance(part, Tensor):
                return True
            if id(part) in seen or len(seen) > _MOST_MODULES:
                continue
            seen.add(id(part))
            if isinstance(part, Opaque):
                following += part.parts
            elif isinstance(part, dict):
                following += part.values()
            elif isinstance(part, (list, tuple)):
                following += part
        level = following
    return False
