"""Weights of the layers in a Keras HDF5 file: Keras 2 and 3, full models or weights only.

There are two layouts, distinguished by the names in the root group:
  store    ``layers/conv2d_3/vars/0``: groups are named by the layer's class and a number
           (``model.weights.h5`` in a .keras file, .weights.h5)
  legacy   ``model_weights/stem_conv/stem_conv/kernel:0``: groups have the layers' names, attributes
           list the names in order (.h5 of Keras 2 and of Keras 3)
Only hard links are followed, because other HDF5 links can point to other files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import CheckpointError, require

#: Class of a layer in snake case -> names of its variables in Keras's order. A bias may be absent.
WEIGHTED = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
    "layer_normalization": ("gamma", "beta"),
    "normalization": ("mean", "variance", "count"),
}
_CONTAINERS = (
    "layers",
    "_layer_checkpoint_dependencies",
)  # the second name: .keras files of Keras 2.12 to 2.15
_MODELS = {"functional", "sequential", "model"}
_MAX_DEPTH = 4  # largest depth of nested models
_PLACE = re.compile(r"(stem|block|top)(\d*)([a-z]?)_(.*)")
_PARTS = ("conv", "expand", "dwconv", "bn", "se_reduce", "se_expand", "project")


@dataclass(frozen=True)
class Layer:
    """One layer: its class in snake case, its name if known, and its variables by name.

    Variables are float32 in Keras's layout, without ``count`` of a Normalization. ``model`` is the
    nested model that contains the layer, "" at the top level. ``numbered`` tells whether the file
    states the class; otherwise the class is guessed from the name. A batch normalisation without
    scale or without shift has only one of these arrays. In numbered files this array is named
    ``scale or shift``.
    """

    kind: str
    name: str
    variables: dict[str, NDArray[np.float32]]
    model: str = ""
    numbered: bool = False


def read_layers(file: BinaryIO, limit: int) -> tuple[list[Layer], str | None]:
    """The layers in ``file``, and the model's config as JSON if present.

    Layers of one class are in the order of the model. Raises `CheckpointError` if the file is not a
    Keras model of standard layers, and h5py's errors for a damaged file.
    """
    h5py: Any = require("h5py", "h5")
    with h5py.File(file, "r") as root:
        reader = _Reader(h5py, limit)
        config = root.attrs.get("model_config")
        if isinstance(config, bytes):
            config = config.decode()
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            layers = reader.legacy(root)
        elif "model_weights" in root:
            layers = reader.legacy(reader.child(root, "model_weights"))
        elif any(name in root for name in _CONTAINERS):
            layers = reader.store(root)
        else:
            raise CheckpointError(
                "it is an HDF5 file without Keras weights in it; save the model with "
                "model.save('model.keras')"
            )
        return layers, config if isinstance(config, str) else None


class _Reader:
    """HDF5 reader that limits links, depth and sizes."""

    def __init__(self, h5py: Any, limit: int) -> None:
        self.h5py, self.left = h5py, limit

    def child(self, group: Any, path: str) -> Any:
        """The object at ``path`` below ``group``; follows hard links only."""
        for name in path.strip("/").split("/"):
            link = group.get(name, getlink=True)
            if not isinstance(link, self.h5py.HardLink):
                raise CheckpointError(
                    f"{name!r} in it points elsewhere, as Keras never writes it; do not use it"
                )
            group = group[name]
        return group

    def array(self, dataset: Any, name: str) -> NDArray[np.float32]:
        """A float dataset as float32."""
        if not isinstance(dataset, self.h5py.Dataset):
            raise CheckpointError(f"{name} in it is no array; fetch it or save it again")
        if dataset.is_virtual or dataset.external:
            raise CheckpointError(f"{name} in it reads from other files; do not use it")
        self.left -= dataset.size * dataset.dtype.itemsize
        if self.left < 0:
            raise CheckpointError("its arrays claim far more bytes than it has; do not use it")
        values = dataset[()]
        if dataset.attrs.get("dtype") == "bfloat16" and values.dtype.itemsize == 2:
            halves = np.asarray(values).view(np.uint16).astype(np.uint32)
            return np.asarray((halves << 16).view(np.float32))
        if np.asarray(values).dtype.kind != "f":
            raise CheckpointError(
                f"{name} has the element type {dataset.dtype}, not a float; save the float32 "
                "model, before any quantization"
            )
        with np.errstate(
            over="ignore"
        ):  # float64 values beyond float32's range become inf without a warning
            return np.asarray(values, np.float32)

    def store(self, group: Any, depth: int = 0, model: str = "") -> list[Layer]:
        """Layers of a model in the numbered layout; nested models come first."""
        container = next((name for name in _CONTAINERS if name in group), None)
        if container is None or depth > _MAX_DEPTH:
            return []
        layers = self.child(group, container)
        inner: list[list[Layer]] = []
        nested: list[Layer] = []
        for key in sorted(layers, key=_numbered):
            kind = re.sub(r"_\d+$", "", key)
            layer = self.child(layers, key)
            if kind in _MODELS or any(name in layer for name in _CONTAINERS):
                inner.append(self.store(layer, depth + 1, f"{model}/{key}"))
            else:
                nested.append(self._numbered_layer(layer, kind, key, model))
        inner.sort(key=len, reverse=True)  # the backbone before the head
        return [*(layer for model in inner for layer in model), *nested]

    def _numbered_layer(self, group: Any, kind: str, key: str, model: str) -> Layer:
        variables = self.child(group, "vars") if "vars" in group else {}
        name = getattr(variables, "attrs", {}).get("name", key)
        if kind not in WEIGHTED:
            return Layer(kind, str(name), {}, model, numbered=True)
        keys = sorted(variables, key=int)
        names = WEIGHTED[kind][: len(keys)]
        if kind == "batch_normalization" and 2 <= len(keys) < len(WEIGHTED[kind]):
            names = ("scale or shift", *WEIGHTED[kind][2:])[-len(keys) :]
        if kind == "layer_normalization" and len(keys) == 1:
            names = ("scale or shift",)
        if len(keys) > len(names):
            raise CheckpointError(
                f"the layer {name} holds {len(keys)} arrays where {kind} has {len(names)}; was the "
                "model quantized? Save the float32 one"
            )
        return Layer(
            kind,
            str(name),
            {
                part: self.array(self.child(variables, place), f"{name}/{part}")
                for part, place in zip(names, keys, strict=True)
                if part != "count"
            },
            model,
            numbered=True,
        )

    def legacy(self, group: Any) -> list[Layer]:
        """Layers of a model in the named layout, in which a nested model is a single group."""
        stored: dict[str, dict[str, NDArray[np.float32]]] = {}
        models: dict[str, str] = {}
        for layer in _strings(group, "layer_names"):
            holder = self.child(group, layer)
            names = _strings(holder, "weight_names")
            nested = len({path.rpartition("/")[0] for path in names}) > 1
            if not names:
                stored.setdefault(layer, {})
            for path in names:
                parent, _, part = path.removesuffix(":0").rpartition("/")
                if part == "count":
                    continue
                name = parent.rpartition("/")[2] or layer
                variables = stored.setdefault(name, {})
                models[name] = layer if nested else ""
                if part in variables:
                    raise CheckpointError(
                        f"it holds two layers called {name}; save one network alone"
                    )
                variables[part] = self.array(self.child(holder, path), path)
        return named_layers(stored, models)


def named_layers(
    stored: dict[str, dict[str, NDArray[np.float32]]], models: Mapping[str, str]
) -> list[Layer]:
    """The layers of a file that names its layers, in the network's order.

    Args:
        stored: Variables by layer name, then by their own name.
        models: Name of the nested model that contains a layer, by layer name.
    """
    ordered = (
        sorted(stored, key=_place) if all(map(_has_position, stored.items())) else list(stored)
    )
    layers = [_named_layer(name, stored[name]) for name in ordered]
    return [replace(layer, model=models.get(layer.name, "")) for layer in layers]


def _named_layer(name: str, variables: dict[str, NDArray[np.float32]]) -> Layer:
    """A layer with its class guessed: from its variables or, without variables, its name."""
    if not variables:
        return Layer(re.sub(r"_\d+$", "", name), name, {})
    parts = set(variables)
    if "depthwise_kernel" in parts:
        variables = {part.removeprefix("depthwise_"): a for part, a in variables.items()}
        return Layer("depthwise_conv2d", name, variables)
    if parts <= {"kernel", "bias"} and "kernel" in parts:
        return Layer(_kind_of_kernel(variables["kernel"].shape), name, variables)
    for kind in ("layer_normalization", "batch_normalization", "normalization"):
        if parts <= set(WEIGHTED[kind]):
            return Layer(kind, name, variables)
    return Layer("unknown", name, variables)


def _kind_of_kernel(shape: tuple[int, ...]) -> str:
    """Class of a convolution by its kernel's shape, because Keras 3 names all kernels "kernel"."""
    if len(shape) == 2:
        return "dense"
    return "depthwise_conv2d" if len(shape) == 4 and shape[0] > 1 == shape[3] else "conv2d"


def _has_position(item: tuple[str, object]) -> bool:
    """Whether a layer's position is known from its name, or does not matter (no convolution)."""
    name, variables = item
    convolution = isinstance(variables, dict) and any(a.ndim == 4 for a in variables.values())
    return not convolution or _PLACE.fullmatch(name) is not None


def _place(name: str) -> tuple[int, int, str, int]:
    """Sort key that puts the layer names of Keras Applications in the network's order.

    The file's order is another one, because nested models list trainable variables first.
    """
    match = _PLACE.fullmatch(name)
    if match is None:
        return (4, 0, "", 0)  # the head comes last; layers before the stem need no order
    where, number, letter, part = match.groups()
    ranks = [index for index, start in enumerate(_PARTS) if part.startswith(start)]
    return (
        ("stem", "block", "top").index(where),
        int(number or 0),
        letter,
        ranks[-1] if ranks else len(_PARTS),
    )


def _strings(group: Any, attribute: str) -> list[str]:
    """A list of strings in one attribute, or in several because of HDF5's limit of 64 kB."""
    if attribute in group.attrs:
        values: Iterable[Any] = group.attrs[attribute]
    else:
        values = _chunks(group, attribute)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _chunks(group: Any, attribute: str) -> Iterator[Any]:
    index = 0
    while f"{attribute}{index}" in group.attrs:
        yield from group.attrs[f"{attribute}{index}"]
        index += 1


def _numbered(key: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)_(\d+)", key)
    return (match[1], int(match[2])) if match else (key, -1)
