"""Checkpoints of the tiny network, as each framework writes them."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzz import tiny
from fuzz.mutators import bundles, protobufs
from fuzz.seeds import Seed
from support.checkpoint_writer import CheckpointWriter, Code, call, name

_Tensors = Mapping[str, NDArray[np.float32]]


def pytorch_zip() -> list[Seed]:
    """torch.save's zip format: a state_dict, a wrapped one, and a module pickled as a whole."""
    trees = (_tensors("timm"), {"epoch": 3, "state_dict": _tensors("torchvision"), "optimizer": {}})
    files = [_torch(tree, legacy=False) for tree in trees]
    names = ("efficientnet_b0-timm.pth", "net.pth", "net.pth")
    return [{key: data} for key, data in zip(names, (*files, _module()), strict=True)]


def pytorch_legacy() -> list[Seed]:
    return [{"net.pth": _torch(_tensors("lukemelas"), legacy=True)}]


def safetensors() -> list[Seed]:
    """The project's own, with a variant, head and card; one of timm with its config.json."""
    from safetensors.numpy import save

    timm = save({key: np.ascontiguousarray(value) for key, value in _tensors("timm").items()})
    config = {
        "architecture": "efficientnet_b0",
        "num_classes": tiny.CLASSES,
        "label_names": list(tiny.LABELS),
        "pretrained_cfg": {
            "input_size": [3, 32, 32], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "crop_pct": 0.875, "interpolation": "bicubic", "crop_mode": "center",
        },
    }  # fmt: skip
    transformers = save(
        {key: np.ascontiguousarray(value) for key, value in _tensors("transformers").items()},
        {"format": "pt"},
    )
    description = {
        "model_type": "efficientnet", "image_size": 32, "hidden_dim": 16, "batch_norm_eps": 0.001,
        "id2label": {str(n): label for n, label in enumerate(tiny.LABELS)},
    }  # fmt: skip
    return [
        {"net.safetensors": own()},
        {"model.safetensors": timm, "config.json": json.dumps(config).encode()},
        {"model.safetensors": transformers, "config.json": json.dumps(description).encode()},
    ]


@cache
def own() -> bytes:
    """The project's own file of a network that is no released one."""
    from dataclasses import replace

    from edge_effnet.checkpoints import canonical

    model = tiny.model()
    variant = replace(model.variant, name="tiny")
    model = replace(model, variant=variant, info=replace(model.info, variant="tiny"))
    with tempfile.TemporaryDirectory() as folder:
        return canonical.save(model, Path(folder) / "net.safetensors").read_bytes()


def hdf5() -> list[Seed]:
    """Keras 3's numbered weights, and a legacy file with a config and named layers."""
    return [{"net.weights.h5": _numbered_h5()}, {"net.h5": _legacy_h5()}]


def keras() -> list[Seed]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in (
            ("metadata.json", b'{"keras_version": "3.5.0"}'),
            ("config.json", json.dumps(keras_config()).encode()),
            ("model.weights.h5", _numbered_h5()),
        ):
            archive.writestr(zipfile.ZipInfo(member), data)
    return [{"net.keras": buffer.getvalue()}]


def tensorflow() -> list[Seed]:
    """A checkpoint of tensorflow/tpu with averages, and a SavedModel of Keras 2."""
    tensors = {f"efficientnet-b0/{key}": value for key, value in _tensors("tensorflow").items()}
    tensors |= {f"{key}/ExponentialMovingAverage": value for key, value in tensors.items()}
    index, data = _bundle(tensors)
    beside = {"model.ckpt.data-00000-of-00001": data}
    named = {f"{layer}/{part}": value for layer, part, value in _named_layers()}
    variables, values = _bundle(named)
    root = protobufs.message((3, b"root"), (5, json.dumps(keras_config(normalised=False)).encode()))
    saved = {
        "saved_model.pb": b"\x08\x01",
        "keras_metadata.pb": protobufs.message((1, root)),
        "variables/variables.index": variables,
        "variables/variables.data-00000-of-00001": values,
    }
    return [{"model.ckpt.index": index, **beside}, saved]


def keras_config(normalised: bool = True) -> dict[str, Any]:
    """The config of the tiny network as a functional model of Keras."""
    layers: list[dict[str, Any]] = []
    last: list[str] = []

    def add(kind: str, layer: str, inputs: list[str] | None = None, **config: Any) -> str:
        sources = last if inputs is None else inputs
        nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
        layers.append(
            {
                "class_name": kind,
                "name": layer,
                "config": {"name": layer, **config},
                "inbound_nodes": nodes,
            }
        )
        last[:] = [layer]
        return layer

    side = tiny.SIDE
    add("InputLayer", "input", [], batch_shape=[None, side, side, 3], dtype="float32")
    add("Rescaling", "rescaling", scale=1 / 255, offset=0.0)
    if normalised:
        add("Normalization", "normalization", axis=[-1], mean=None, variance=None, invert=False)
    from edge_effnet import graph as nodes

    for node in tiny.model().graph:
        inputs = None
        layer = node.name.replace(".", "_")
        match node:
            case nodes.Conv():
                kind = "DepthwiseConv2D" if node.depthwise else "Conv2D"
                add(
                    kind, layer, inputs, strides=[node.stride] * 2,
                    kernel_size=[node.kernel] * 2, padding="same",
                    activation="linear", data_format="channels_last", dilation_rate=[1, 1],
                    use_bias=node.bias,
                )  # fmt: skip
            case nodes.BatchNorm():
                add("BatchNormalization", layer, inputs, epsilon=node.eps, axis=[3])
            case nodes.Activation():
                add("Activation", layer, inputs, activation=node.kind)
            case nodes.Dense():
                add("Dense", layer, inputs, units=node.units, activation="softmax", use_bias=True)
            case nodes.GlobalAveragePool():
                add("GlobalAveragePooling2D", layer, inputs)
            case nodes.Add() | nodes.Mul():
                names = [each.replace(".", "_") for each in node.inputs]
                add("Add" if isinstance(node, nodes.Add) else "Multiply", layer, names)
    config = {
        "name": "efficientnetb0", "layers": layers, "input_layers": [["input", 0, 0]],
        "output_layers": [[layers[-1]["name"], 0, 0]],
    }  # fmt: skip
    return {"module": "keras", "class_name": "Functional", "config": config}


def _tensors(kind: str) -> _Tensors:
    """The tiny network's weights under a source's names, in its layout."""
    from edge_effnet.checkpoints.registry import SOURCES

    model = tiny.model()
    entries = SOURCES[kind].names(model.graph)
    channels_last = kind in ("keras", "tensorflow")
    return {
        entries[key]: _channels_last(key, value) if channels_last else value
        for key, value in model.weights.items()
        if key in entries
    }


def _channels_last(key: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.ndim == 4:
        depthwise = ".depthwise." in key
        return np.ascontiguousarray(values.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))
    return np.ascontiguousarray(values.T) if values.ndim == 2 else values


def _torch(tree: Mapping[str, Any], legacy: bool) -> bytes:
    writer = CheckpointWriter(legacy)

    def described(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return writer.tensor(value)
        return {k: described(v) for k, v in value.items()} if isinstance(value, dict) else value

    return _fixed_dates(writer.bytes({key: described(value) for key, value in tree.items()}))


def _module() -> bytes:
    """A pickled module: objects with attributes, modules and parameters."""
    writer = CheckpointWriter(legacy=False)

    def module(kind: str, attributes: dict[str, Any], parameters: dict[str, Any]) -> Code:
        from support.checkpoint_writer import emit

        place, _, cls = kind.rpartition(".")
        state = {**attributes, "_parameters": parameters, "_buffers": {}, "training": False}
        return Code(name(place, cls).code + b")\x81" + emit({**state, "_modules": {}}) + b"b")

    ordered = call(name("collections", "OrderedDict"))
    tensors = _tensors("timm")
    stem = {"weight": writer.tensor(tensors["conv_stem.weight"])}
    dense = {key: writer.tensor(tensors[f"classifier.{key}"]) for key in ("weight", "bias")}
    from support.checkpoint_writer import emit

    tree = Code(
        name("timm.models.efficientnet", "EfficientNet").code + b")\x81" + emit({
            "_parameters": ordered, "training": False, "default_cfg": {"input_size": (3, 32, 32)},
            "_modules": {
                "conv_stem": module("torch.nn.modules.conv.Conv2d", {"stride": (2, 2)}, stem),
                "classifier": module("torch.nn.modules.linear.Linear", {"in_features": 16}, dense),
            },
        }) + b"b"
    )  # fmt: skip
    return _fixed_dates(writer.bytes(tree))


def _fixed_dates(data: bytes) -> bytes:
    if not data.startswith(b"PK"):
        return data
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as archive:
        for entry in old.infolist():
            archive.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    return buffer.getvalue()


def _numbered_h5() -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        order = {
            "kernel": 0,
            "bias": 1,
            "gamma": 0,
            "beta": 1,
            "moving_mean": 2,
            "moving_variance": 3,
        }
        for key, value in _tensors("keras").items():
            layer, _, part = key.partition("/")
            file[f"layers/{layer}/vars/{order[part]}"] = value
        for place, value in enumerate(
            (np.float32([123.7] * 3), np.float32([58.4] * 3), np.int32(0))
        ):
            file[f"layers/normalization/vars/{place}"] = value
    return buffer.getvalue()


def _legacy_h5() -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("model_weights")
        file.attrs["model_config"] = json.dumps(keras_config(normalised=False))
        layers: dict[str, list[str]] = {}
        for layer, part, value in _named_layers():
            group[f"{layer}/{layer}/{part}:0"] = value
            layers.setdefault(layer, []).append(f"{layer}/{part}:0")
        group.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, weights in layers.items():
            group[layer].attrs["weight_names"] = [each.encode() for each in weights]
    return buffer.getvalue()


def _named_layers() -> list[tuple[str, str, NDArray[np.float32]]]:
    """(layer, part, values) with the layers' names of `keras_config`."""
    parts = {"weight": "kernel", "running_mean": "moving_mean", "running_var": "moving_variance"}
    rows = []
    for key, values in tiny.model().weights.items():
        layer, _, part = key.rpartition(".")
        norm = f"{layer}.running_mean" in tiny.model().weights
        part = {"weight": "gamma", "bias": "beta"}.get(part, part) if norm else part
        rows.append((layer.replace(".", "_"), parts.get(part, part), _channels_last(key, values)))
    return rows


def _bundle(tensors: _Tensors) -> tuple[bytes, bytes]:
    """Index and data file of a TensorFlow checkpoint."""
    rows, data = [(b"", bundles.HEADER)], b""
    for key, value in sorted(tensors.items()):
        content = np.ascontiguousarray(value, "<f4").tobytes()
        rows.append((key.encode(), bundles.entry(1, value.shape, len(data), len(content))))
        data += content
    return bundles.index(rows), data
