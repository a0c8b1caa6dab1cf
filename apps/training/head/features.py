"""Pooled features of photos, computed by ONNX Runtime and cached on disk.

A cache file belongs to one network and preprocessing. It is a sequence of records of equal size:
the sha256 of a photo file, then its features. Records are appended batch by batch. A killed process
loses only its last batch, because an incomplete record at the end is cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import reading
from edge_effnet.apps.training.head.views import VIEWS, views
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.errors import CheckpointError, ImageError, OutputError
from edge_effnet.files import make_folder
from edge_effnet.graph import GlobalAveragePool, Graph
from edge_effnet.graph_json import nodes_to_json
from edge_effnet.heads import POOL, trunk
from edge_effnet.model import Model
from edge_effnet.preprocess import Preprocess
from edge_effnet.progress import Progress

_BATCH = 8  # photos in memory at a time


def pooled(graph: Graph) -> Graph:
    """``graph`` up to the average of its last feature map; its output is [channels]."""
    backbone = trunk(graph)
    pool = GlobalAveragePool(name=POOL, inputs=(backbone.output,))
    return Graph(backbone.input, backbone.input_shape, (*backbone.nodes, pool))


def photo_features(
    model: Model,
    paths: Sequence[Path],
    cache: Path,
    *,
    threads: int,
    progress: Progress,
) -> NDArray[np.float32]:
    """Features of the `VIEWS` of each photo, float32 [photos, views, channels].

    Args:
        model: The network; its classifier is not used.
        paths: Photo files.
        cache: Folder of the cache files.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total) in photos.

    Raises:
        CheckpointError: Features are not finite numbers.
        ImageError: A photo cannot be read.
        OutputError: The cache cannot be written.
        MissingExtra: ONNX Runtime is not installed.
    """
    from edge_effnet.converters.onnx_engine import OnnxEngine

    folded = fold_batch_norm(model)
    graph = pooled(folded.graph)
    weights = {name: folded.weights[name] for name in graph.parameter_shapes}
    channels = graph.shapes[graph.output][0]
    preprocess = model.info.preprocess
    store = _Cache(cache, _digest(graph, weights, preprocess), channels)
    digests = _photo_digests(paths, threads)
    missing = [index for index, digest in enumerate(digests) if digest not in store.rows]
    progress("compute features", len(paths) - len(missing), len(paths))
    if missing:
        run = OnnxEngine(threads).compile_float(graph, weights, [graph.output])
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool, store.opened() as file:
            for start in range(0, len(missing), _BATCH):
                part = missing[start : start + _BATCH]
                pixels = np.stack([*pool.map(partial(views, preprocess), [paths[i] for i in part])])
                batch = preprocess.normalise(pixels.reshape(-1, *pixels.shape[2:]))
                result = run(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))[graph.output]
                if not np.isfinite(result).all():
                    raise CheckpointError(
                        f"the features of {paths[missing[start]]} are not finite numbers: "
                        "the weights do not fit the network; use another checkpoint"
                    )
                store.append(file, [digests[i] for i in part], result.reshape(-1, VIEWS, channels))
                done = len(paths) - len(missing) + start + len(part)
                progress("compute features", done, len(paths))
    return np.stack([store.rows[digest] for digest in digests])


class _Cache:
    """The records of one cache file; ``rows`` has the features by the photo's digest."""

    def __init__(self, folder: Path, key: str, channels: int) -> None:
        self._path = make_folder(folder) / f"{key}.features"
        self._type = np.dtype([("digest", "V32"), ("features", "<f4", (VIEWS, channels))])
        self.rows: dict[bytes, NDArray[np.float32]] = {}
        if self._path.exists():
            for record in np.fromfile(self._path, self._type):  # omits an incomplete record
                self.rows[record["digest"].tobytes()] = record["features"]

    def opened(self) -> Any:
        """The file, cut to complete records and opened for appending."""
        try:
            file = open(self._path, "ab", buffering=0)  # noqa: SIM115  (the caller closes it)
            if excess := file.tell() % self._type.itemsize:
                file.truncate(file.tell() - excess)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        return file

    def append(self, file: Any, digests: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Append records; raises `OutputError` if the disk is full."""
        records = np.zeros(len(digests), self._type)
        records["features"] = features
        for record, digest, row in zip(records, digests, features, strict=True):
            record["digest"] = np.void(digest)
            self.rows[digest] = row
        try:
            data = memoryview(records.tobytes())
            while data:
                data = data[file.write(data) :]
        except OSError as error:
            raise OutputError(
                f"cannot write {self._path}: {error.strerror}; free some space or choose another "
                "folder"
            ) from error


def _photo_digests(paths: Sequence[Path], threads: int) -> list[bytes]:
    """sha256 of each file; raises `ImageError` for an unreadable one."""

    def digest(path: Path) -> bytes:
        try:
            return bytes.fromhex(reading.sha256(path))
        except OSError as error:
            raise ImageError(f"{path} cannot be read: {error.strerror}") from error

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return list(pool.map(digest, paths))


def _digest(graph: Graph, weights: dict[str, Any], preprocess: Preprocess) -> str:
    """sha256 over everything that determines the features of a photo."""
    content = {
        "nodes": nodes_to_json(graph.nodes),
        "input": list(graph.input_shape),
        "preprocess": asdict(preprocess),
        "views": VIEWS,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).tobytes())
    return digest.hexdigest()
