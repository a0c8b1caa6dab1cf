"""Accuracy of networks that predict one class of several: top-1, top-5, agreement, drop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy.predictions import TOP, Predictions
from edge_effnet.benchmarks.intervals import paired_difference
from edge_effnet.statistics import wilson


def accuracy_fields(
    predictions: Predictions,
    truth: NDArray[np.int32] | None,
    classes: int,
    reference: Predictions | None,
) -> dict[str, Any]:
    """Fields of a `Record`: accuracy if there is a ``truth``, agreement if a ``reference``."""
    fields = _shares(predictions, truth, classes)
    return fields if reference is None else fields | _against(predictions, reference, truth)


def _shares(
    predictions: Predictions, truth: NDArray[np.int32] | None, classes: int
) -> dict[str, Any]:
    """top-1 and top-5 with their intervals; no top-5 for five classes or fewer."""
    if truth is None:
        return {}
    hits = predictions.indices == truth[:, None]
    shares = _share("top1", hits[:, 0])
    for name, indices in (("class_images", truth), ("class_right", truth[hits[:, 0]])):
        shares[name] = tuple(np.bincount(indices, minlength=classes).tolist())
    return {**shares, **_share("top5", hits.any(axis=1))} if classes > TOP else shares


def _against(
    predictions: Predictions, reference: Predictions, truth: NDArray[np.int32] | None
) -> dict[str, Any]:
    mine, theirs = predictions.indices[:, 0], reference.indices[:, 0]
    comparison = _share("agreement", (mine == theirs) & (mine >= 0))
    if truth is None:
        return comparison
    lost = int(((theirs == truth) & (mine != truth)).sum())
    gained = int(((mine == truth) & (theirs != truth)).sum())
    low, high = paired_difference(lost, gained, len(truth))
    drop = 100 * (lost - gained) / len(truth)
    return {
        **comparison,
        "drop": drop,
        "drop_ci": (100 * low, 100 * high),
        "lost": lost,
        "gained": gained,
    }


def _share(name: str, hits: NDArray[np.bool_]) -> dict[str, Any]:
    count, total = int(hits.sum()), len(hits)
    return {name: count / total, f"{name}_ci": wilson(count, total)}
