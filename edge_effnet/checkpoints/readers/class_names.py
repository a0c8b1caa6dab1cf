"""Class names that training scripts store beside the weights, in the structure of a file.

Scripts store them at the top of the file or in a dict of settings, as a list, ``{index: name}``,
``{name: index}`` or scikit-learn's LabelEncoder. Nothing is executed: `Opaque` objects are searched
by their attributes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet import json_text, reading
from edge_effnet.checkpoints.readers.objects import attributes
from edge_effnet.checkpoints.readers.values import Opaque, Tensor
from edge_effnet.checkpoints.source import ClassNames

#: Names of entries with class names, in lower case and without underscores.
_KEYS = frozenset(
    """
    classes classnames classlist classlabels categories categorynames labels labelnames labelmap
    names vocab targetnames classtoidx idxtoclass classtoindex indextoclass classindices
    id2label label2id idx2label label2idx idx2class class2idx int2label label2int id2class class2id
    inttolabel labeltoint classmap classmapping labelmapping
    """.split()  # noqa: SIM905
)
#: Entries of training state, which may hold lists of texts too.
_SKIPPED = re.compile(r"optim|sched|scaler|callback|loop|metric|history|param_groups", re.I)
_CONFIG, _CONFIG_BYTES = "config.json", 1 << 20
_ENCODER = "classes_"  # attribute of scikit-learn's LabelEncoder
#: Attributes with the content of OmegaConf's values and containers, and of fastai's lists.
_INNER = ("_val", "_content", "items")
_VOCABULARY = "vocab"  # of fastai's Learner, deep in its data loaders
_NEAR, _DEEPEST, _MOST = 4, 12, 5_000  # levels for all keys and for "vocab"; containers
_FIRST = 8  # elements of lists that are searched
_MOST_NAMES, _LONGEST = 100_000, 500  # names of a list, and characters of a name
_UNICODE = re.compile(r"[<>=|]?U(\d{1,4})")


def class_names(tree: object, file: str) -> tuple[ClassNames, ...]:
    """All lists of class names in the structure ``tree`` of ``file``, outermost first."""
    stored: list[ClassNames] = []
    pending: deque[tuple[str, object, int]] = deque([("", tree, 0)])
    visited: set[int] = set()
    while pending and len(visited) < _MOST:
        path, node, depth = pending.popleft()
        if id(node) in visited:
            continue
        visited.add(id(node))
        for key, value in _items(node):
            place = f"{path}.{key}" if path else key
            wanted = _is_key(key) if depth <= _NEAR else key == _VOCABULARY
            names = _names(value) if wanted else None
            if names is not None:
                stored.append(ClassNames(f"{place} in {file}", names))
            elif depth < _DEEPEST and _is_container(value) and not _SKIPPED.search(key):
                pending.append((place, value, depth + 1))
    return tuple(stored)


def names_in_config(checkpoint: Path) -> tuple[ClassNames, ...]:
    """Class names in the config.json beside ``checkpoint``; none without a usable one."""
    config = checkpoint.with_name(_CONFIG)
    try:
        return class_names(json_text.parse(reading.read_bytes(config, _CONFIG_BYTES)), _CONFIG)
    except (OSError, ValueError):
        return ()


def _is_container(value: object) -> bool:
    return isinstance(value, (Mapping, list, tuple, Opaque)) or hasattr(value, "__dict__")


def _is_key(key: str) -> bool:
    return key == _ENCODER or key.lower().replace("_", "").replace("-", "") in _KEYS


def _items(node: object) -> Iterator[tuple[str, object]]:
    """(Key, value) of a dict, of an object's attributes, or of the first elements of a list."""
    if isinstance(node, (list, tuple)):
        yield from ((str(index), value) for index, value in enumerate(node[:_FIRST]))
        return
    if isinstance(node, Opaque):
        node = attributes(node)
        if "_content" in node:  # OmegaConf's DictConfig
            node = node["_content"]
    elif not isinstance(node, Mapping):
        node = getattr(node, "__dict__", None)
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(key, str) and not isinstance(value, Tensor):
                yield key, value


def _names(value: object) -> tuple[str, ...] | None:
    """The class names in ``value``; None if it holds no list of texts."""
    value = _plain(value)
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        names = [_plain(name) for name in value[:_MOST_NAMES]]
        return _checked(names)
    return None


def _of_mapping(mapping: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Names by index from ``{name: index}`` or ``{index: name}``."""
    items = [(key, _plain(value)) for key, value in mapping.items()][:_MOST_NAMES]
    numbers = list(range(len(items)))
    if all(type(index) is int for _, index in items):
        items = [(index, name) for name, index in items]
    by_index = {int(index): name for index, name in items if re.fullmatch(r"\d{1,6}", str(index))}
    if sorted(by_index) != numbers:
        return None
    return _checked([by_index[number] for number in numbers])


def _checked(names: list[object]) -> tuple[str, ...] | None:
    """``names`` without spaces at their ends; None unless all are usable texts."""
    texts = [name.strip() for name in names if isinstance(name, str)]
    usable = all(text and len(text) <= _LONGEST and text.isprintable() for text in texts)
    return tuple(texts) if texts and usable and len(texts) == len(names) else None


def _plain(value: object, depth: int = 0) -> object:
    """``value`` without its wrappers: a NumPy array, or a value of OmegaConf."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim == 1 else None
    if not isinstance(value, Opaque):
        return value
    if value.name.endswith("multiarray._reconstruct"):
        return _array(value)
    parts = attributes(value)
    inner = next((parts[name] for name in _INNER if name in parts), None)
    if inner is not None:
        return _plain(inner, depth + 1) if depth < _NEAR else None
    lists = [part for part in value.parts if isinstance(part, list)]
    return lists[0] if len(lists) == 1 else parts or value  # a list of another class


def _array(array: Opaque) -> object:
    """The texts of a pickled NumPy array; None for arrays of other types."""
    state = array.parts[-1] if array.parts else ()
    if not isinstance(state, tuple) or len(state) != 5:  # version, shape, dtype, order, data
        return None
    _, shape, dtype, _, data = state
    if isinstance(data, list):
        return data
    kind = dtype.parts[0] if isinstance(dtype, Opaque) and dtype.parts else ()
    match = _UNICODE.fullmatch(str(kind[0])) if isinstance(kind, tuple) and kind else None
    width, data = int(match[1]) if match else 0, _bytes(data)
    if not width or shape != (len(data) // (4 * width),):
        return None
    text = data.decode("utf-32-le", "replace")
    return [text[start : start + width].rstrip("\0") for start in range(0, len(text), width)]


def _bytes(data: object) -> bytes:
    """Pickled bytes; protocol 2 has them as text in Latin-1."""
    if isinstance(data, Opaque) and data.name == "_codecs.encode":
        arguments = data.parts[0] if data.parts else ()
        text = arguments[0] if isinstance(arguments, tuple) and arguments else ""
        return text.encode("latin-1", "replace") if isinstance(text, str) else b""
    return data if isinstance(data, bytes) else b""
