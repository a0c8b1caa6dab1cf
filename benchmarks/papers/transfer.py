"""Table 5 of "EfficientNet": transfer learning, beside trainings of `edge-effnet train`.

The eight data sets are not part of this project. The numbers of parameters are computed. The
accuracies stand beside nothing until the user trains on the same photos and gives the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_effnet.benchmarks.papers.comparison import Cell, Row, Table
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.variants import short_name

_SOURCE = "Tan & Le 2019, arXiv 1905.11946v5, table 5; sizes of the data sets: table 6"

#: Table 5, best networks of the paper, and table 6: data set -> training photos, test photos,
#: classes; then for each network: variant, top-1 in percent, parameters.
_PUBLISHED: dict[str, tuple[tuple[int, int, int], tuple[tuple[str, str, str], ...]]] = {
    "CIFAR-10": ((50000, 10000, 10), (("b0", "98.1", "4M"), ("b7", "98.9", "64M"))),
    "CIFAR-100": ((50000, 10000, 100), (("b0", "88.1", "4M"), ("b7", "91.7", "64M"))),
    "Birdsnap": ((47386, 2443, 500), (("b5", "82.0", "28M"), ("b7", "84.3", "64M"))),
    "Stanford Cars": ((8144, 8041, 196), (("b3", "93.6", "10M"), ("b7", "94.7", "64M"))),
    "Flowers": ((2040, 6149, 102), (("b5", "98.5", "28M"), ("b7", "98.8", "64M"))),
    "FGVC Aircraft": ((6667, 3333, 100), (("b3", "90.7", "10M"), ("b7", "92.9", "64M"))),
    "Oxford-IIIT Pets": ((3680, 3369, 37), (("b4", "94.8", "17M"), ("b6", "95.4", "41M"))),
    "Food-101": ((75750, 25250, 101), (("b4", "91.5", "17M"), ("b7", "93.0", "64M"))),
}
_NOT_TRAINED = (
    "not reproduced: the photos are not at hand. 'edge-effnet train' on them, then 'edge-effnet "
    "tables v1-5 --run RUN', puts the accuracy here. Trained instead: Lite0 and V2-B0 on five "
    "kinds of flowers, 400 training and 200 test photos (docs/fine-tuning.md)"
)


@dataclass(frozen=True)
class Transfer:
    """The result of a training of the user.

    Attributes:
        name: Name of the run.
        variant: The network.
        train: Number of training and validation photos.
        test: Number of test photos.
        classes: Number of classes.
        top1: Top-1 accuracy on the test photos, 0..1.
        params: Number of parameters.
    """

    name: str
    variant: str
    train: int
    test: int
    classes: int
    top1: float
    params: int


def transfer(results: Sequence[Transfer] = ()) -> Table:
    """Table 5 of "EfficientNet" (Tan & Le 2019), with one more row per training of the user.

    Rows have the number of classes. A training on as many test photos and classes as a data set of
    the paper has, with a network of the paper, stands beside the published accuracy.
    """
    rows = []
    used = set()
    for name, ((_, test, classes), networks) in _PUBLISHED.items():
        for short, top1, params in networks:
            cell = Cell("-", top1, _NOT_TRAINED)
            for result in results:
                if (result.classes, result.test) == (classes, test) and _is(result, short):
                    cell = Cell(round(100 * result.top1, 4), top1, "trained with other settings")
                    used.add(result.name)
            title = f"{name} ({classes}), {short.upper()}"
            rows.append(Row(title, (cell, _params(short, classes, params))))
    for result in results:
        if result.name not in used:  # the paper has no value for it
            title = f"yours: {result.name} ({result.classes}), {short_name(result.variant)}"
            photos = f"{result.train:,} training and validation photos, {result.test:,} test photos"
            accuracy = Cell(f"{100 * result.top1:.1f}", "", f"{photos}; the paper has no value")
            rows.append(Row(title, (accuracy, Cell(f"{result.params / 1e6:.2f}M", ""))))
    columns = ("top-1 %", "params")
    return Table("v1-5", "Transfer learning", _SOURCE, columns, tuple(rows))


def _is(result: Transfer, short: str) -> bool:
    return result.variant == get_variant(short).name


def _params(short: str, classes: int, published: str) -> Cell:
    """Parameters with a classifier of ``classes`` classes beside the published number."""
    graph = build(get_variant(short), classes=classes)
    cell = Cell(graph.params, published)
    if cell.agrees:
        return cell
    classifier = sum(
        math.prod(shape)
        for name, shape in graph.parameter_shapes.items()
        if name.startswith("classifier.")
    )
    backbone = graph.params - classifier
    cut = "" if Cell(backbone, published).agrees else ", and to be cut instead of rounded"
    return replace(
        cell,
        note=f"{backbone / 1e6:.2f}M without the classifier: the figure seems to leave it out{cut}",
    )
