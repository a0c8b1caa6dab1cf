"""Segments: a network cut into consecutive parts, so that few of its tensors are held at a time.

The tensors of B7 at 600 px take 3.5 GB per photo, those of its largest block 0.4 GB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge_effnet.calibration.engine import Engine, Floats, return_free_memory
from edge_effnet.graph import Graph
from edge_effnet.model import Weights

#: A segment ends as soon as its float32 tensors take more bytes for all samples of a batch.
MOST_BYTES = 96 * 2**20
#: Bytes of the float32 tensors that a segment computes at a time. The tensors of one block of one
#: photo can take more: B7 at 600 px, 0.4 GB.
PART_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Segment:
    """Consecutive nodes of a network that read one tensor from outside.

    Attributes:
        graph: The nodes.
        outputs: Names of the tensors to compute, among them the segment's last.
        run: Computes the outputs of a float32 batch [n, ...].
    """

    graph: Graph
    outputs: tuple[str, ...]
    run: Callable[[Floats], dict[str, Floats]]

    @property
    def sample_bytes(self) -> int:
        """Bytes of the input and the outputs of one sample in float32."""
        names = (self.graph.input, *self.outputs)
        return 4 * sum(math.prod(self.graph.shapes[name]) for name in names)

    def parts(self, count: int) -> Iterator[slice]:
        """Slices of ``count`` samples whose tensors take at most `PART_BYTES`, or of one sample."""
        step = max(1, PART_BYTES // self.sample_bytes)
        for start in range(0, count, step):
            yield slice(start, min(start + step, count))


def compile_segments(
    graph: Graph, weights: Weights, engine: Engine, outputs: Sequence[str], samples: int
) -> list[Segment]:
    """Compile the segments of a network.

    Args:
        graph: The network.
        weights: Its weights.
        engine: Compiles the segments.
        outputs: Names of the tensors to compute.
        samples: Number of samples in a batch. A segment ends as soon as its tensors take more than
            `MOST_BYTES` for this many samples.

    Returns:
        The segments up to the last of ``outputs``, in execution order; each reads the last tensor
        of the segment before it.
    """
    wanted = frozenset(outputs)
    segments = []
    parts = cut(graph, MOST_BYTES // samples)
    while parts and not wanted & {node.name for node in parts[-1]}:
        parts.pop()  # nothing after the last wanted tensor has to be computed
    for part in parts:
        names = [node.name for node in part if node.name in wanted or node.name == part.output]
        parameters = {name: weights[name] for name in part.parameter_shapes}
        run = engine.compile_float(part, parameters, names)
        segments.append(Segment(part, tuple(names), run))
    return segments


def run_segments(
    segments: Sequence[Segment], batch: Floats, engine: Engine
) -> Iterator[tuple[int, dict[str, Floats]]]:
    """Run a batch through consecutive segments, few samples at a time.

    Delete the tensors before the next step, so that memory holds those of one step.

    Args:
        segments: The segments in execution order.
        batch: Input of the first segment, float32 [n, ...].
        engine: Its memory is returned after each segment.

    Yields:
        The index of the first sample in ``batch``, and the outputs of a segment for some samples.
    """
    for segment in segments:
        lasts = []
        for part in segment.parts(len(batch)):
            tensors = segment.run(batch[part])
            lasts.append(tensors[segment.graph.output])
            yield part.start, tensors
            del tensors
        batch = np.concatenate(lasts) if len(lasts) > 1 else lasts[0]
        return_free_memory(engine)


def cut(graph: Graph, most_bytes: int) -> list[Graph]:
    """Cut a network where a single tensor connects the nodes before with the nodes after.

    Args:
        graph: The network.
        most_bytes: A part ends at the first possible place after its float32 tensors take more
            bytes than this for one sample.

    Returns:
        The parts in execution order, which together have all nodes.
    """
    last_reader = {name: node.name for node in graph for name in node.inputs}
    live: set[str] = {graph.input}
    parts: list[Graph] = []
    first, source, size = 0, graph.input, 0
    for index, node in enumerate(graph.nodes):
        live -= {name for name in node.inputs if last_reader[name] == node.name}
        live.add(node.name)
        size += 4 * math.prod(graph.shapes[node.name])
        last = index + 1 == len(graph.nodes)
        if last or (live == {node.name} and size > most_bytes):
            parts.append(Graph(source, graph.shapes[source], graph.nodes[first : index + 1]))
            first, source, size = index + 1, node.name, 0
    return parts
