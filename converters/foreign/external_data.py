"""External data of .onnx files: weights in a separate data file, PyTorch's default since 2.9.

The .onnx file may come from strangers and names the data file, so the loaders of onnx and ONNX
Runtime are not used. Only a file in the same folder is opened, and every byte range is checked
before reading.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_effnet.errors import CheckpointError, require

onnx: Any = require("onnx", "export")

_ONE_FILE = "save it as one file: torch.onnx.export(..., external_data=False)"
_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


def read_external_data(path: Path, proto: Any, most: int) -> bytes:
    """Read the external weights of ``proto`` into its initializers.

    Args:
        path: The .onnx file.
        proto: Content of the .onnx file, which is changed in place.
        most: Largest number of bytes of the data file, and of all its tensors together.

    Returns:
        The content of the data file, empty if the .onnx file has all its weights.

    Raises:
        CheckpointError: The data file is missing, too large or too short, or the weights are not
            in one file in the folder of ``path``.
    """
    external = [tensor for tensor in proto.graph.initializer if _is_external(tensor)]
    for tensor in _other_tensors(proto):
        if _is_external(tensor):
            raise _refusal(path, "constants of its operators lie in another file")
    if not external:
        return b""
    entries = [{entry.key: entry.value for entry in tensor.external_data} for tensor in external]
    names = {entry.get("location", "") for entry in entries}
    if len(names) > 1:
        raise _refusal(path, f"its weights lie in {len(names)} other files")
    data = _read(path, names.pop(), most)
    total = 0
    for tensor, entry in zip(external, entries, strict=True):
        start, size = _range(path, tensor, entry, len(data))
        total += size
        if total > most:
            raise _refusal(path, f"its weights have more than {most / 1e9:.1f} GB")
        tensor.raw_data = data[start : start + size]
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return data


def _is_external(tensor: Any) -> bool:
    return bool(tensor.external_data) or tensor.data_location == onnx.TensorProto.EXTERNAL


def _other_tensors(proto: Any) -> Iterator[Any]:
    """All tensors except the main graph's initializers; tensors of subgraphs are included."""
    for sparse in proto.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    pending = [list(proto.graph.node), *(list(function.node) for function in proto.functions)]
    while pending:
        for node in pending.pop():
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                for graph in (attribute.g, *attribute.graphs):
                    yield from graph.initializer
                    for sparse in graph.sparse_initializer:
                        yield from (sparse.values, sparse.indices)
                    pending.append(list(graph.node))


def _read(path: Path, name: str, most: int) -> bytes:
    """The content of the file ``name`` in the folder of ``path``."""
    plain = name not in ("", ".", "..") and not set(name) & set("/\\:\0")
    if not plain:
        raise _refusal(path, f"its weights lie in another folder ({name[:80]!r})")
    target = path.parent / name
    try:
        if target.resolve(strict=True).parent != path.parent.resolve():
            raise _refusal(path, f"{name}, which has its weights, is a link to another folder")
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise _refusal(path, f"{name}, which has its weights, is not a file")
        with open(target, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise CheckpointError(
                    f"{target} has {size / 1e9:.1f} GB; .onnx files of up to {most / 1e9:.1f} GB "
                    "can be converted"
                )
            return file.read(size)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(
            f"the weights of {path} lie in {name}, which is missing: copy both files into one "
            "folder, with their names unchanged"
        ) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links, Python <= 3.12
        raise CheckpointError(f"cannot read {target} ({error}); copy it again") from error


def _range(path: Path, tensor: Any, entry: dict[str, str], available: int) -> tuple[int, int]:
    """Offset in the data file and number of bytes of ``tensor``."""
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind in ("UNDEFINED", "STRING") or min(tensor.dims, default=0) < 0:
        raise _refusal(path, f"the type or shape of its weight {tensor.name[:80]} is invalid")
    bits = _BITS.get(kind) or 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size = -(-math.prod(tensor.dims) * bits // 8)
    start, length = (_number(entry.get(key, default)) for key, default in _defaults(size))
    if start is None or length != size or start + size > available:
        raise CheckpointError(
            f"the weight {tensor.name[:80]} of {path} needs {size:,} bytes, which its data file "
            "does not have where the .onnx file expects them: the two files do not belong "
            "together, or one is cut off; copy or export both again"
        )
    return start, size


def _defaults(size: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("offset", "0"), ("length", str(size))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _refusal(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {reason}; only one data file beside the .onnx file, in the same folder, is "
        f"read: {_ONE_FILE}"
    )
